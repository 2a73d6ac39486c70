from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.models import FAMILIES, TinyBound, TinyFree, TinyJoint, registered_families
from safetensors.torch import save_file
from torch import Tensor

import fusekit
from fusekit import ModelSpec, WeightsSpec
from fusekit.errors import InputError, OptionError, PluginError, RuleError, WeightsError
from fusekit.models.base import FusionModel
from fusekit.models.parts import build_rule
from fusekit.registry.discovery import registries
from fusekit.registry.registry import entry_of
from fusekit.rules.mean import Mean
from fusekit.testing import assert_no_findings, check_model


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with registered_families():
        yield


def made(network_class: type[FusionModel]) -> FusionModel:
    torch.manual_seed(1)
    return network_class().eval()


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("network_class", FAMILIES)
def test_the_families_keep_the_contract(network_class: type[FusionModel]) -> None:
    assert_no_findings(check_model(network_class.spec.id))


@torch.inference_mode()
def test_padding_repeats_the_border_at_the_far_end() -> None:
    network: Any = made(TinyJoint)
    a, b = images(2, 1, 1, 5, 7)
    padded = [F.pad(source, (0, 1, 0, 3), mode="replicate") for source in (a, b)]
    torch.testing.assert_close(network.fuse([a, b]), network.fuse_jointly(*padded)[..., :5, :7])


@torch.inference_mode()
def test_the_free_family_fuses_three_sources_leaf_by_leaf() -> None:
    network: Any = made(TinyFree)
    sources = images(3, 1, 1, 8, 8)
    features = [network.encode(source) for source in sources]
    mean = {
        "fine": sum(each["fine"] for each in features) / 3,
        "pyramid": [sum(each["pyramid"][i] for each in features) / 3 for i in range(2)],
    }
    torch.testing.assert_close(network.fuse(sources), network.decode(mean))
    assert network.run(sources, network.choose_rule(None)).weights is None
    weights = network.run(sources, network.choose_rule("l1")).weights
    assert [tuple(each.shape) for each in weights] == [(3, 1, 1, 1, 1)] * 3


@torch.inference_mode()
def test_the_free_family_takes_names_objects_and_its_own_default() -> None:
    network: Any = made(TinyFree)
    sources = images(2, 1, 1, 8, 8)
    assert torch.equal(network.fuse(sources), network.fuse(sources, Mean()))
    greatest = network.fuse(sources, "max")
    assert not torch.equal(network.fuse(sources), greatest)
    assert torch.equal(network.fuse(sources, build_rule("max")), greatest)


def test_trees_or_shapes_that_differ_cannot_be_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made(TinyFree)
    trees = iter([{"a": torch.ones(1, 1, 2, 2)}, [torch.ones(1, 1, 2, 2)]])
    monkeypatch.setattr(network, "encode", lambda _: next(trees))
    with pytest.raises(RuleError, match="different structures"):
        network.fuse(images(2, 1, 1, 8, 8))
    trees = iter([torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2, 2)])
    with pytest.raises(RuleError, match=r"different shapes: \[\(1, 1, 2, 2\), \(1, 2, 2, 2\)\]"):
        network.fuse(images(2, 1, 1, 8, 8))


@torch.inference_mode()
def test_the_bound_family_takes_its_own_rule_only() -> None:
    network, sources = made(TinyBound), images(3, 1, 1, 6, 6)
    assert torch.equal(network.fuse(sources), network.fuse(sources, "its-own"))
    for rule, name in (("mean", "'mean'"), (Mean(), "'Mean'")):
        with pytest.raises(RuleError, match=f"'tiny-bound' has a fusion network of its own and cannot use .*{name}"):
            network.fuse(sources, rule)


def test_the_joint_family_says_why_it_takes_no_rule() -> None:
    with pytest.raises(RuleError, match=r"sees all sources in one network.*'mean' to act on; leave the rule out"):
        made(TinyJoint).fuse(images(2, 1, 1, 8, 8), "mean")


@pytest.mark.parametrize(
    ("network_class", "count", "wanted"), [(TinyFree, 1, "2 or more"), (TinyJoint, 3, "2"), (TinyJoint, 1, "2")]
)
def test_the_number_of_sources_is_checked(network_class: type[FusionModel], count: int, wanted: str) -> None:
    with pytest.raises(InputError, match=f"fuses {wanted} sources, and {count} were given"):
        made(network_class).fuse(images(count, 1, 1, 8, 8))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 9)], r"source 2 has shape \(1, 1, 8, 9\)"),
        ([torch.ones(1, 3, 8, 8)] * 2, r"source 1 .*\(1, 3, 8, 8\).*\(B, 1, H, W\)"),
        ([torch.ones(8, 8)] * 2, r"takes float tensors \(B, 1, H, W\)"),
        ([torch.ones(1, 1, 8, 8, 8)] * 2, r"takes float tensors \(B, 1, H, W\)"),
        ([torch.ones(1, 1, 8, 8, dtype=torch.uint8)] * 2, r"source 1 is a torch\.uint8 tensor"),
        ([torch.ones(1, 1, 3, 8)] * 2, "3×8 pixels; this model needs at least 4 on every side"),
        ([torch.ones(1, 1, 0, 8)] * 2, "at least 4 on every side"),
    ],
)
def test_sources_that_do_not_fit_are_refused(sources: list[Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(TinyJoint).fuse(sources)


def test_a_model_of_no_family_says_so() -> None:
    class Stray(FusionModel):
        spec = TinyFree.spec

    with pytest.raises(NotImplementedError, match="none of the three families"):
        Stray().fuse(images(2, 1, 1, 8, 8))


@pytest.mark.parametrize("network_class", FAMILIES)
@torch.inference_mode()
def test_a_saved_model_comes_back_bit_by_bit(network_class: type[FusionModel], tmp_path: Path) -> None:
    network, sources = made(network_class), images(2, 2, 1, 9, 13)
    network.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "config.json"}
    assert json.loads((tmp_path / "config.json").read_text())["model"] == network.spec.id
    wanted = network.fuse(sources)
    for back in (
        fusekit.load(tmp_path),
        fusekit.load(str(tmp_path)),
        fusekit.load(tmp_path / "model.safetensors"),
        fusekit.load(network.spec.id, weights=tmp_path / "model.safetensors"),
        fusekit.load(network.spec.id, weights=tmp_path),
    ):
        assert type(back) is network_class
        assert not any(module.training for module in back.modules())
        assert torch.equal(back.fuse(sources), wanted)


def test_the_constructor_arguments_travel_with_the_weights(tmp_path: Path) -> None:
    TinyFree(width=5).save(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text()) == {"model": "tiny-free", "width": 5}
    assert fusekit.load(tmp_path / "new").fine.out_channels == 5


def test_a_model_remembers_what_it_was_constructed_with() -> None:
    assert (TinyFree(5).config, TinyFree().config) == ({"width": 5}, {"width": 3})
    network = TinyFree(width=5)
    network.config["width"] = 6
    for each in (network, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert each.header == {"model": "tiny-free", "config": {"width": 5}}


def test_what_a_trainer_says_of_its_run_is_no_constructor_argument(tmp_path: Path) -> None:
    network = TinyFree(width=5)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    facts = {"model": "tiny-free", "width": 5, "training": {"steps": 10}}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    assert fusekit.load(tmp_path).fine.out_channels == 5


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    network = made(TinyJoint)
    network.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors"):
        fusekit.load(tmp_path)


def test_a_model_without_weights_asks_for_them() -> None:
    said = (
        "the model 'tiny-joint' comes without trained weights; train some (fusekit train FOLDERS --model tiny-joint -o "
        "RUN) or convert published ones (fusekit weights convert CHECKPOINT --model tiny-joint -o FILE.safetensors), "
        "and give --weights RUN or FILE.safetensors"
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(said)}$"):
        fusekit.load("tiny-joint")


def test_rules_and_parts_follow_the_policy(tmp_path: Path) -> None:
    for each in FAMILIES:
        made(each).save(tmp_path / each.spec.id)
    assert fusekit.load(tmp_path / "tiny-free").choose_rule("max").name == "max"
    for name in ("tiny-bound", "tiny-joint"):
        with pytest.raises(RuleError, match="leave the rule out"):
            fusekit.load(tmp_path / name).choose_rule("max")
        with pytest.raises(RuleError, match="options of a rule"):
            fusekit.load(tmp_path / name).choose_rule(None, {"radius": 2})
        with pytest.raises(OptionError, match="no exchangeable encoder"):
            fusekit.load(tmp_path / name, edge="sobel")


def test_a_factory_that_makes_no_fusion_model_is_the_plugins_error() -> None:
    spec = ModelSpec("odd", "torch.nn:Identity", "not a fusion model", default_rule="mean")
    registries().models.add(entry_of(spec, "a-test"))
    said = r"'odd' of a-test is made by torch\.nn:Identity, which is no fusekit\.extend\.FusionModel"
    with pytest.raises(PluginError, match=said):
        fusekit.load("odd")


def test_a_loaded_model_can_be_pickled_for_worker_processes() -> None:
    network: Any = made(TinyJoint)
    back = pickle.loads(pickle.dumps(network))
    assert torch.equal(back.network.weight, network.network.weight)


@pytest.mark.parametrize(("field", "value"), [("rule_policy", "any"), ("normalization", "z"), ("output", "clip")])
def test_a_spec_refuses_unknown_policies(field: str, value: str) -> None:
    with pytest.raises(PluginError, match=f"has {field} '{value}'; allowed: "):
        ModelSpec("x", "a:B", "", default_rule="mean", **{field: value})  # type: ignore[arg-type]


def test_a_free_model_needs_a_default_rule() -> None:
    with pytest.raises(PluginError, match="names no default_rule"):
        ModelSpec("x", "a:B", "")


@pytest.mark.parametrize(
    ("revision", "sha256", "message"),
    [
        ("", "1" * 64, "name no revision; give the commit"),
        ("v1", "", "with sha256 ''; give the 64 hexadecimal digits of f"),
    ],
)
def test_weights_on_the_hub_are_pinned(revision: str, sha256: str, message: str) -> None:
    with pytest.raises(PluginError, match=rf"the weights 't' are on the hub \(lab/x\).* {message}"):
        WeightsSpec("t", "f", sha256, hub="lab/x", revision=revision)
    assert WeightsSpec("t", "f").revision == ""
