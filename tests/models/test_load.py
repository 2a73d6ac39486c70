from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import fusekit
from fusekit.errors import DeviceError, FusekitWarning, OptionError, RuleError, UnknownNameError, WeightsError
from fusekit.models.base import FusionModel
from fusekit.models.load import build_network
from fusekit.rules.base import FusionRule
from fusekit.weights.metadata import read_metadata
from fusekit.weights.resolve import find_bundled
from fusekit.weights.store import save_weights
from fusekit_ehdran.model import DILRAN, EHDRAN

SOURCES = [torch.rand(1, 1, 12, 14, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def ehdran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "ehdran.safetensors"
    save_weights(model := EHDRAN(), path, model.header)
    return path


@pytest.fixture(scope="module")
def dilran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "dilran.safetensors"
    save_weights(model := DILRAN(), path, model.header)
    return path


@torch.inference_mode()
def fused(network: FusionModel, rule: str | FusionRule | None = None) -> torch.Tensor:
    return network.fuse([source.to(next(network.parameters()).dtype) for source in SOURCES], rule)


@pytest.mark.skipif(find_bundled("ehdran", "ct-mri.safetensors") is None, reason="no bundled weights in this checkout")
@pytest.mark.parametrize("name", ["ehdran", "ehdran.ct-mri"])
def test_a_name_loads_the_bundled_weights(name: str) -> None:
    network = fusekit.load(name, device="cpu")
    assert isinstance(network, EHDRAN)
    assert not network.training
    assert network.provenance.weights.name == "ehdran.ct-mri"
    assert network.provenance.weights.origin == "bundled"
    assert len(network.provenance.weights.sha256) == 64
    assert fused(network).isfinite().all()


def test_a_file_says_itself_which_model_it_is(ehdran: Path, dilran: Path) -> None:
    network = fusekit.load(ehdran, device="cpu")
    assert isinstance(network, EHDRAN)
    assert network.provenance.weights.origin == "file"
    assert network.provenance.config["edge"] == "drgo"
    assert network.provenance.notes == ()
    assert isinstance(fusekit.load(str(dilran)), DILRAN)


def test_a_rule_is_chosen_by_name_or_object(ehdran: Path) -> None:
    network: Any = fusekit.load(ehdran)
    assert network.choose_rule(None).name == network.spec.default_rule
    by_channel = network.choose_rule("sfnn-channel")
    assert torch.equal(fused(network, "sfnn-channel"), fused(network, by_channel))
    assert not torch.equal(fused(network, by_channel), fused(network))
    weighted = network.choose_rule("weighted", {"weights": [1.0, 0.0]})
    torch.testing.assert_close(fused(network, weighted), network.reconstruct(SOURCES[0]).detach())


def test_rule_options_that_the_rule_does_not_take_are_refused(ehdran: Path) -> None:
    network = fusekit.load(ehdran)
    with pytest.raises(RuleError, match="'sfnn-local' of fusekit-imaging does not take these options"):
        network.choose_rule(None, {"radius": 2})
    with pytest.raises(RuleError, match="'max' is given as an object, which has its own options"):
        network.choose_rule(network.choose_rule("max"), {"radius": 2})


def test_another_edge_operator_warns_and_keeps_the_other_weights(ehdran: Path) -> None:
    with pytest.warns(FusekitWarning, match="trained with the edge operator 'drgo', not 'sobel'"):
        network: Any = fusekit.load("ehdran", weights=ehdran, edge="sobel")
    assert type(network.encoder.edge).__name__ == "Sobel"
    assert "'sobel'" in network.provenance.notes[0]
    before: Any = fusekit.load(ehdran)
    assert torch.equal(network.encoder.shallow.weight, before.encoder.shallow.weight)


def test_a_trainable_edge_operator_without_weights_is_told_so(dilran: Path) -> None:
    with pytest.warns(FusekitWarning, match="tensors of 'drgo' are untrained"):
        first = fusekit.load(dilran, edge="drgo")
    with pytest.warns(FusekitWarning):
        second = fusekit.load(dilran, edge="drgo")
    assert torch.equal(fused(first), fused(second))


@pytest.mark.filterwarnings("error")
def test_the_trained_edge_operator_by_name_is_no_reason_to_warn(ehdran: Path) -> None:
    assert torch.equal(fused(fusekit.load(ehdran, edge="drgo")), fused(fusekit.load(ehdran)))


def test_half_precision_is_near(ehdran: Path) -> None:
    network = fusekit.load(ehdran, dtype="bfloat16")
    assert {each.dtype for each in network.parameters()} == {torch.bfloat16}
    assert fused(network).dtype == torch.bfloat16
    torch.testing.assert_close(fused(network).float(), fused(fusekit.load(ehdran)), atol=0.05, rtol=0.05)


def test_encoder_options_reach_the_encoder(ehdran: Path) -> None:
    network = fusekit.load(ehdran, encoder_options={"dilations": [1, 2, 3]})
    assert [each.dilation for each in network.encoder.multiscale.dilated] == [(1, 1), (2, 2), (3, 3)]
    assert network.provenance.config["encoder_options"] == {"dilations": [1, 2, 3]}
    assert not torch.equal(fused(network), fused(fusekit.load(ehdran)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": 32}, WeightsError, "has shape .* and the model needs .*; check the encoder options"),
        ({"dilations": [1, 2]}, WeightsError, "does not fit the model 'ehdran'"),
        ({"depth": 4}, OptionError, "the encoder 'dran' of fusekit-imaging does not take these options: .*'depth'"),
        ({"channels": "many"}, OptionError, "'ehdran'|'dran'"),
        ({"dilations": [1, 0, 5]}, OptionError, r"needs dilations of 1 or more, not \[1, 0, 5\]"),
        ({"dilations": [1, -3, 5]}, OptionError, "needs dilations of 1 or more"),
        ({"edge_gain": "strong"}, OptionError, "'dran' of fusekit-imaging does not take these options: .*'strong'"),
    ],
)
def test_encoder_options_that_do_not_fit_are_one_clear_error(
    ehdran: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fusekit.load(ehdran, encoder_options=options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ehdrun"}, r"unknown model 'ehdrun'; did you mean 'ehdran'"),
        ({"name": "ehdran", "devise": "cpu"}, r"unknown option 'devise'; did you mean 'device'"),
        ({"name": "ehdran", "edge": "sobell"}, r"unknown edge operator 'sobell'; did you mean 'sobel'\?"),
        ({"name": "ehdran.ct-mir"}, r"unknown weights of 'ehdran' 'ct-mir'; did you mean 'ct-mri'"),
        ({"name": "ehdran", "weights": "ct-mr"}, r"did you mean 'ct-mri'.*a folder or hub:owner/name"),
    ],
)
def test_near_misses_are_answered_with_suggestions(ehdran: Path, arguments: dict[str, Any], message: str) -> None:
    if not {"weights"} & arguments.keys() and arguments["name"] == "ehdran":
        arguments = {**arguments, "weights": ehdran}
    with pytest.raises(UnknownNameError, match=message):
        fusekit.load(**arguments)


def test_weights_named_twice_are_refused(ehdran: Path) -> None:
    with pytest.raises(OptionError, match=r"names weights already; leave out either '\.ct-mri'"):
        fusekit.load("ehdran.ct-mri", weights=ehdran)
    with pytest.raises(OptionError, match="are weights already; leave out weights="):
        fusekit.load(ehdran, weights=ehdran)


def test_weights_of_another_model_are_refused(dilran: Path) -> None:
    with pytest.raises(WeightsError, match=r"dilran\.safetensors holds weights of the model 'dilran', not of 'ehdr"):
        fusekit.load("ehdran", weights=dilran)


@pytest.mark.parametrize("kept", [4, 8, 100, 1000, -100])
def test_a_truncated_file_is_refused(ehdran: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(ehdran.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"cut\.safetensors is not a readable safetensors file"):
        fusekit.load("ehdran", weights=cut)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
def test_a_pickled_checkpoint_is_never_loaded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"authors{suffix}"
    torch.save(EHDRAN().state_dict(), path)
    for arguments in ({"name": "ehdran", "weights": path}, {"name": path}):
        with pytest.raises(WeightsError, match=r"fusekit weights convert --model NAME .* -o authors\.safetensors"):
            fusekit.load(**arguments)


def test_a_pickle_that_calls_itself_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "authors.safetensors"
    torch.save(EHDRAN().state_dict(), path)
    with pytest.raises(WeightsError, match=r"is a pickled checkpoint, .* -o authors-converted\.safetensors"):
        fusekit.load("ehdran", weights=path)


def test_a_file_that_does_not_name_its_model_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_file(EHDRAN().state_dict(), path)
    with pytest.raises(WeightsError, match=r"bare\.safetensors does not say which model .*; name the model: --model"):
        fusekit.load(path)
    assert isinstance(fusekit.load("ehdran", weights=path), EHDRAN)
    (tmp_path / "config.json").write_text(json.dumps({"model": "ehdran", "edge": "drgo"}))
    assert isinstance(fusekit.load(path), EHDRAN)


def test_keys_that_are_not_the_models_are_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    state = EHDRAN().state_dict()
    state["stray"] = state.pop("encoder.shallow.bias")
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"1 tensors are missing, the first 'encoder\.shallow\.bias' and .*'stray'"):
        fusekit.load("ehdran", weights=path)
    with pytest.raises(WeightsError, match=r"does not fit the model 'ehdran': 'encoder\.shallow\.bias'"):
        fusekit.load("ehdran", weights=path, edge="none")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network: Any = EHDRAN()
    with torch.no_grad():
        network.decoder.convolutions[0].bias[3] = float("nan")
    save_weights(network, tmp_path / "nan.safetensors", network.header)
    with pytest.raises(WeightsError, match=r"not finite, in decoder\.convolutions\.0\.bias"):
        fusekit.load(tmp_path / "nan.safetensors")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no weights file .*gone\.safetensors"):
        fusekit.load("ehdran", weights=tmp_path / "gone.safetensors")
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors"):
        fusekit.load(tmp_path)


def test_the_bundled_digest_is_checked(ehdran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusekit.weights.resolve.find_bundled", lambda model, file: ehdran)
    monkeypatch.setattr("fusekit.weights.resolve.sha256_of", lambda path: "0" * 64)
    spec = fusekit.ModelSpec("m", "a:B", "", default_rule="mean", weights=(fusekit.WeightsSpec("t", "f", "1" * 64),))
    from fusekit.weights.resolve import resolve

    with pytest.raises(WeightsError, match=r"is not the file that m\.t should be"):
        resolve(spec)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps", "meta", ""])
def test_devices_that_are_not_there_are_refused(ehdran: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=r"(unknown|no) device .*choose auto"):
        fusekit.load(ehdran, device=device)


def test_other_dtypes_are_refused(ehdran: Path) -> None:
    with pytest.raises(DeviceError, match="unknown dtype 'int8'; choose auto, float32, bfloat16, float16"):
        fusekit.load(ehdran, dtype="int8")


def test_the_header_tells_model_and_configuration(ehdran: Path) -> None:
    metadata = read_metadata(ehdran)
    assert metadata["model"] == "ehdran"
    assert metadata["config"]["encoder"] == "dran"
    assert metadata["config"]["edge"] == "drgo"


def test_loading_leaves_the_random_state_alone(ehdran: Path) -> None:
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    fusekit.load(ehdran)
    assert torch.equal(torch.rand(1), wanted)


def test_a_model_of_cuda_devices_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="the model 'ehdran' runs on a CUDA device only, and torch finds none"):
        build_network(replace(EHDRAN.spec, requires=("cuda",)), {})
