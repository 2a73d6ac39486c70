"""What can be trained: composed recipes, and bound and joint models by objectives of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import run_cli, texture, write_texture
from helpers.models import TinyBound, TinyFree, TinyJoint, registered_families
from helpers.training import SHORT, log_rows, same_tensors, training
from safetensors.torch import load_file
from torch import Tensor

import fusekit
from fusekit import ModelSpec
from fusekit.cases.case import Case
from fusekit.errors import FusekitWarning, OptionError, PluginError, TrainingError, UnknownNameError, WeightsError
from fusekit.machine.files import sha256_of
from fusekit.models.base import BoundRule, FusionModel
from fusekit.registry.discovery import registries
from fusekit.registry.registry import entry_of
from fusekit.train.data import Images, find_cases, load_cases, sample_batch
from fusekit.train.recipe import Recipe
from fusekit.train.trainer import Trainer


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with registered_families():
        yield


@pytest.fixture
def pairs(tmp_path: Path) -> list[Path]:
    """Return two folders of registered sources: three series of two slices, and one slice that only the first has."""
    for series in (1, 2, 3):
        for number in range(2):
            write_texture(tmp_path / "ct" / f"{series}{number:03}.png", 10 * series + number, 40, 36)
            write_texture(tmp_path / "mri" / f"{series}{number:03}.png", 50 + 10 * series + number, 40, 36)
    write_texture(tmp_path / "ct" / "3007.png", 7, 40, 36)
    return [tmp_path / "ct", tmp_path / "mri"]


# --- composed recipes --------------------------------------------------------------------------------------------


def test_a_composed_recipe_trains_and_loads(pairs: list[Path], tmp_path: Path) -> None:
    command = ["train", *pairs, "-o", tmp_path / "run", "--encoder", "dran", "--edge", "sobel", "--steps", 2]
    command += ["--decoder", "conv3-linear", "--encoder-option", "channels=4", "--encoder-option", "dilations=1,2"]
    command += ["--batch", 1, "--crop", 32, "--perceptual-weight", 0, "--validation-series", "none", "--device", "cpu"]
    weights = tmp_path / "run" / "weights.safetensors"
    assert run_cli(command) == (0, f"{weights}\n", "")
    config = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert (config["model"], config["encoder"], config["decoder"]) == ("composed", "dran", "conv3-linear")
    model: Any = fusekit.load(weights, device="cpu")
    assert model.encoder.edge.__class__.__name__ == "Sobel"
    assert model.decoder.negative_slope == 1.0
    assert (model.encoder.channels, len(model.encoder.multiscale.dilated)) == (4, 2)
    fused = fusekit.fuse([texture(1), texture(2)], model, rule="max")
    assert fused.image.shape == (24, 20)
    with pytest.warns(FusekitWarning, match="trained with the edge operator 'sobel', not 'none'"):
        assert fusekit.load(weights, device="cpu", edge="none").encoder.edge.__class__.__name__ == "NoEdge"
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "--encoder dran --decoder conv3-linear --edge sobel --encoder-option channels=4" in card


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"encoder": "dran"}, OptionError, "made of an encoder and a decoder; name both"),
        ({"decoder": "conv3"}, OptionError, "made of an encoder and a decoder; name both"),
        ({"encoder": "dran", "decoder": "conv"}, UnknownNameError, "unknown decoder 'conv'; did you mean 'conv3'"),
        ({"model": "ehdran", "encoder": "dran"}, OptionError, "'ehdran' has its own encoder and decoder"),
        ({"model": "tiny-free", "edge": "sobel"}, OptionError, "'tiny-free' has no exchangeable encoder"),
        (
            {"encoder": "dran", "decoder": "conv3", "encoder_options": {"depth": 2}},
            OptionError,
            "'dran' of .* does not take",
        ),
        (
            {"encoder": "dran", "decoder": "conv3", "decoder_options": {"depth": 2}},
            OptionError,
            "'conv3' of .* does not take",
        ),
    ],
)
def test_recipes_that_cannot_be_made(
    choices: dict[str, Any], error: type[Exception], message: str, pairs: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        training(pairs, tmp_path / "run", Recipe(**SHORT), device="cpu", **choices)
    assert not (tmp_path / "run").exists()


class Silent(torch.nn.Module):
    """An encoder that does not say how many channels its features have."""

    def __init__(self, edge: str) -> None:
        super().__init__()


def test_an_encoder_that_hides_its_channels(tmp_path: Path, pairs: list[Path]) -> None:
    encoders = registries().encoders
    before = encoders.snapshot()
    encoders.registrar("a-test")("silent", f"{__name__}:Silent")
    try:
        with pytest.raises(PluginError, match=r"'silent' does not say how many .* Silent must set self\.channels"):
            training(pairs, tmp_path, Recipe(**SHORT), encoder="silent", decoder="conv3")
    finally:
        encoders.restore(before)


# --- registered sources ------------------------------------------------------------------------------------------


def test_sources_are_cut_at_one_place() -> None:
    left = torch.rand(1, 40, 36, generator=torch.Generator().manual_seed(1))
    batch = sample_batch([(left, 1 - left)], 4, 32, seed=1, step=2)
    assert len(batch.sources) == 2
    assert torch.equal(batch.sources[0], 1 - batch.sources[1])
    assert len({(crop.top, crop.left) for crop in batch.crops}) > 1


def test_sources_are_matched_by_name(pairs: list[Path], tmp_path: Path) -> None:
    cases = find_cases(pairs, sources=2)
    assert len(cases) == 6
    assert all(ct.name == mri.name and ct.parent.name == "ct" for ct, mri in (case.files for case in cases))
    (tmp_path / "one.txt").write_text("2001.png\n")
    (tmp_path / "two.txt").write_text("2000.png\n2001.png\n")
    (tmp_path / "names.txt").write_text("2001.png\n")
    assert find_cases(pairs, [tmp_path / "names.txt"], sources=2) == [
        Case("2001", (pairs[0] / "2001.png", pairs[1] / "2001.png"), ("ct", "mri"), "2")
    ]
    assert len(find_cases(pairs, [tmp_path / "names.txt"])) == 2
    (tmp_path / "names.txt").write_text("2001.png\n3007.png\n")
    with pytest.raises(TrainingError, match="lists 1 name not in all of the folders: 3007"):
        find_cases(pairs, [tmp_path / "names.txt"], sources=2)
    with pytest.raises(TrainingError, match="give a folder for each"):
        find_cases(pairs[:1], sources=2)
    both = find_cases([*pairs, *reversed(pairs)], [tmp_path / "one.txt", tmp_path / "two.txt"], sources=2)
    assert [[path.parent.name for path in case.files] for case in both] == [["ct", "mri"], ["mri", "ct"], ["mri", "ct"]]
    assert [case.name for case in both] == ["2001", "2000", "2001"]
    assert len(find_cases([*pairs, *reversed(pairs)], sources=2)) == 12
    for folders, lists, said in ((3, 0, "2 registered sources; .* not 3 folders"), (4, 3, "one for each .*, not 3")):
        with pytest.raises(TrainingError, match=said):
            find_cases([*pairs, *pairs][:folders], ["one.txt"] * lists, sources=2)
    write_texture(pairs[1] / "1000.png", 1, 40, 40)
    with pytest.raises(TrainingError, match=r"1000\.png is 40×40 and .*1000\.png is 40×36; .* on one grid"):
        load_cases(find_cases(pairs, sources=2), Images("unit"))


@pytest.mark.parametrize("model", [TinyBound, TinyJoint])
def test_bound_and_joint_models_train_by_their_own_objective(
    model: type[FusionModel], pairs: list[Path], tmp_path: Path
) -> None:
    recipe = Recipe(**{**SHORT, "steps": 8, "rate": 0.01, "settle": 0.0})

    def trainer(folder: str) -> Trainer:
        return training(pairs, tmp_path / folder, recipe, model=model.spec.id, validation_series=["2"], device="cpu")

    assert len(trainer("first").examples) == 4
    weights = trainer("first").run(log_every=1, save_every=2)
    rows = log_rows(tmp_path / "first")
    term = "rebuilt" if model is TinyBound else "near"
    assert all(float(row[term]) > 0 for row in rows)
    losses = [float(row["validation_loss"]) for row in rows if row["validation_loss"]]
    assert losses[-1] < losses[0]
    loaded = fusekit.load(weights, device="cpu")
    assert type(loaded) is model
    assert fusekit.fuse([texture(1), texture(2)], loaded).image.shape == (24, 20)
    assert "training_loss" in (tmp_path / "first" / "README.md").read_text(encoding="utf-8")

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer("second").run(log_every=1, save_every=2, report=stop)
    trainer("second").run(log_every=1, save_every=2)
    assert same_tensors(tmp_path / "first" / "weights.safetensors", tmp_path / "second" / "weights.safetensors")
    assert log_rows(tmp_path / "first") == log_rows(tmp_path / "second")


class Aimless(BoundRule):
    spec = TinyBound.spec

    def __init__(self) -> None:
        super().__init__()
        self.decoder = torch.nn.Conv2d(1, 1, 1)


def test_a_model_without_an_objective_says_so(tmp_path: Path) -> None:
    pair: tuple[Tensor, Tensor] = (torch.rand(1, 40, 40), torch.rand(1, 40, 40))
    with pytest.raises(TrainingError, match=r"brings no objective .* Aimless must define training_loss"):
        Trainer(Aimless(), [pair], Recipe(**SHORT), tmp_path).run()


class TinyBased(BoundRule):
    """A bound model whose encoder and decoder are those of a free one."""

    spec = ModelSpec(
        "tiny-based", f"{__name__}:TinyBased", "a test", {"width": 3}, rule_policy="bound", base="tiny-free", multiple=8
    )
    encode, decode = TinyFree.encode, TinyFree.decode

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        free = TinyFree(width)
        self.fine, self.coarse, self.last, self.dropout = free.fine, free.coarse, free.last, free.dropout
        self.requires_grad_(False)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def fuse_bound(self, features: Any) -> Any:
        first, second = features
        return {"fine": self.scale * (first["fine"] + second["fine"]) / 2, "pyramid": first["pyramid"]}

    def training_loss(self, sources, objectives):
        return objectives.reconstruction(torch.stack(list(sources)).amax(0), self.fuse(sources))


def test_a_model_is_trained_on_the_weights_of_its_base(pairs: list[Path], tmp_path: Path) -> None:
    registries().models.add(entry_of(TinyBased.spec, "a-test"))
    short, here = Recipe(**SHORT), {"device": "cpu", "validation_series": ["none"]}

    def weights(name: str) -> Path:
        return tmp_path / name / "weights.safetensors"

    with pytest.raises(OptionError, match=r"from trained weights of 'tiny-free'; train those first .*--init BASE"):
        training(pairs, tmp_path / "none", short, model="tiny-based", **here)
    training(pairs, tmp_path / "other", short, model="tiny-bound", **here).run()
    with pytest.raises(WeightsError, match="holds weights of the model 'tiny-bound', not of 'tiny-based'"):
        training(pairs, tmp_path / "none", short, model="tiny-based", init=tmp_path / "other", **here)
    TinyFree(width=5).save(tmp_path / "base")
    trainer = training(pairs, tmp_path / "run", short, model="tiny-based", init=tmp_path / "base", **here)
    trainer.run()
    # Built as the base was, of its values, which stayed as they were.
    base, run = load_file(tmp_path / "base" / "model.safetensors"), load_file(weights("run"))
    assert run.keys() == {*base, "scale"}
    assert all(torch.equal(run[name], each) for name, each in base.items())
    assert run["scale"] != 1
    config = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["training"]["init"]["sha256"] == sha256_of(tmp_path / "base" / "model.safetensors")
    # Its own weights do as well.
    again: Any = training(pairs, tmp_path / "again", short, model="tiny-based", init=tmp_path / "run", **here)
    assert torch.equal(again.model.scale.detach(), run["scale"])
    with pytest.raises(WeightsError, match=r"train FOLDERS --model tiny-free -o BASE, then .*tiny-based --init BASE"):
        fusekit.load("tiny-based")


@pytest.mark.parametrize("name", ["laplacian-pyramid", "mdlatlrr"])
def test_a_model_without_weights_or_with_fixed_ones_has_nothing_to_train(
    name: str, pairs: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=f"the model '{name}' has no weights to train"):
        training(pairs, tmp_path / "run", Recipe(**SHORT), model=name, device="cpu")
    assert not (tmp_path / "run").exists()


def test_crops_that_the_model_cannot_take(pairs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a multiple of 8, not 20; choose --crop 24"):
        training(pairs, tmp_path, Recipe(**{**SHORT, "crop": 20}), model="tiny-free", device="cpu")


def test_the_hook_for_a_cheaper_form_is_what_training_calls(tmp_path: Path) -> None:
    class Counted(TinyFree):
        calls = 0

        def training_forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.reconstruct(x)

    model = Counted()
    Trainer(model, [torch.rand(1, 40, 40)], Recipe(**SHORT), tmp_path).run()
    assert model.calls == SHORT["steps"]
