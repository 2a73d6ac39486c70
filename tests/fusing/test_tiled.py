"""Images fused in tiles: the same image as the whole, chosen by a budget of memory, and refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, texture, write_texture
from helpers.models import TinyBound, TinyFree, registered_families
from helpers.tiles import assert_same, pair, run
from torch import Tensor

import fusekit
from fusekit.errors import OptionError, PluginError, RuleError
from fusekit.images.files import read_image
from fusekit.images.tiles import Reach, Tile
from fusekit.models.base import EncoderDecoder, FusionModel
from fusekit.rules.base import FixedWeights, FusionRule, RuleResult, Survey

RULES = ("max", "min", "mean", "sum", "l1", "l1-local", "energy", "weighted")


# --- the same image ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        *(("ehdran", rule) for rule in RULES),
        ("dilran", "max"),
        ("dilran", "l1"),
        ("pixel", "l1-local"),
        ("pixel", "l1"),
    ],
)
def test_tiles_give_what_the_whole_gives(models: dict[str, FusionModel], name: str, rule: str) -> None:
    units = pair(53, 71)
    tiled = run(models[name], units, rule, tile=23)
    assert tiled.tiles is not None
    assert tiled.tiles["number"] == 3 * 4
    assert tiled.tiles["passes"] == (2 if rule == "l1" else 1)
    assert_same(tiled, run(models[name], units, rule, tile="off"))


@pytest.mark.parametrize(
    ("size", "side"),
    [((16, 16), 500), ((17, 70), 19), ((64, 31), 16), ((2, 33), 16), ((45, 3), 19)],
)
def test_sizes_and_sides(models: dict[str, FusionModel], size: tuple[int, int], side: int) -> None:
    units = pair(*size, count=3)
    for rule in ("max", "l1"):
        assert_same(run(models["ehdran"], units, rule, tile=side), run(models["ehdran"], units, rule))


def test_the_plain_form_is_tiled_too() -> None:
    model, units = fusekit.load("ehdran", device="cpu", form="plain"), pair(40, 37)
    assert_same(run(model, units, "l1-local", tile=17), run(model, units, "l1-local"))


@pytest.mark.parametrize("edge", ["none", "sobel", "laplacian"])
def test_other_edges_and_dilations(edge: str) -> None:
    with pytest.warns(match="trained with"):
        model = fusekit.load("ehdran", edge=edge, encoder_options={"dilations": [2, 9, 4]}, device="cpu")
    assert model.reach is not None
    assert model.reach.encode == 13
    assert_same(run(model, pair(50, 61), "max", tile=16), run(model, pair(50, 61), "max"))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(300, 281), (150, 40)])
def test_a_joint_model_is_tiled(models: dict[str, FusionModel], size: tuple[int, int]) -> None:
    model = models["laplacian-pyramid"]
    assert_same(run(model, pair(*size), None, tile=37), run(model, pair(*size), None))


def test_a_pixel_changes_the_output_as_far_as_declared() -> None:
    for name in ("ehdran", "dilran"):
        # In double precision, and without the algorithms whose rounding spreads over a block.
        model: Any = fusekit.load(name, device="cpu", form="plain").double()
        reach = model.reach
        assert reach is not None
        image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1)).double()
        other = image.clone()
        other[..., 32, 32] += 0.5
        with torch.inference_mode():
            changed = ((model.reconstruct(image) - model.reconstruct(other)).abs() > 1e-14)[0, 0].nonzero()
        far = int((changed - 32).abs().max())
        assert reach.encode + reach.decode - 1 <= far <= reach.encode + reach.decode


@pytest.mark.slow
def test_features_are_kept_where_there_is_room(models: dict[str, FusionModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model, units = models["ehdran"], pair(90, 110)
    whole = run(model, units, "l1")
    calls: list[tuple[int, ...]] = []
    kind: Any = type(model)
    encode = kind.encode_sources

    def counted(self: Any, x: Any) -> Any:
        calls.append(tuple(x[0].shape))
        return encode(self, x)

    monkeypatch.setattr(kind, "encode_sources", counted)
    kept = run(model, units, "l1", tile=50)
    assert kept.tiles is not None
    assert (kept.tiles["features_kept"], len(calls)) == (True, 1 + 6)
    calls.clear()
    again = run(model, units, "l1", tile=50, memory="4MiB")
    assert again.tiles is not None
    assert (again.tiles["features_kept"], len(calls)) == (False, 1 + 12)
    assert_same(kept, whole)
    assert_same(again, whole)


def test_padding_to_the_models_multiple() -> None:
    class Blocks(TinyFree):
        """Features of one size only, in blocks of 8 pixels."""

        reach = Reach(9, 0, 8)

        def encode(self, x: Tensor) -> Any:
            assert not any(side % 8 for side in x.shape[2:])
            mean = torch.nn.functional.avg_pool2d(x, 8)
            return torch.cat([self.fine(x), torch.nn.functional.interpolate(mean, scale_factor=8.0)], 1)

        def decode(self, features: Tensor, sources: object = None) -> Tensor:
            return features.sum(1, keepdim=True)

    with registered_families():
        model = Blocks().eval()
        assert_same(run(model, pair(61, 45), "l1", tile=20), run(model, pair(61, 45), "l1"))


# --- budget and choice -------------------------------------------------------------------------------------------


# --- what cannot be tiled ----------------------------------------------------------------------------------------


class Median(FusionRule):
    """A third party's rule, of which nobody knows how far it sees."""

    name = "third-party"

    def apply(self, features):
        stacked = torch.stack(list(features))
        return RuleResult(stacked.median(0).values - stacked.mean())


def test_a_rule_without_reach_falls_back_or_says_why(models: dict[str, FusionModel]) -> None:
    model, units = models["ehdran"], pair(120, 130)
    whole = run(model, units, Median(), tile="off")
    fallen = run(model, units, Median(), memory="5MiB")
    assert fallen.tiles == {
        "note": "fused whole, though it may take more than 5 MiB of memory: the rule 'third-party' needs the features "
        "of the whole image"
    }
    np.testing.assert_array_equal(fallen.image, whole.image)
    assert whole.tiles is None
    with pytest.raises(RuleError, match=r"'third-party' needs .* cannot be fused in tiles of 64 pixels"):
        run(model, units, Median(), tile=64)


def test_a_model_without_reach_falls_back_or_says_why() -> None:
    units = pair(64, 64)
    with registered_families():
        for model in (TinyFree().eval(), TinyBound().eval()):
            assert model.reach is None
            assert "does not say how far" in (run(model, units, None, memory=1).tiles or {})["note"]
            with pytest.raises(OptionError, match="does not say how far its output sees, so it cannot be fused"):
                run(model, units, None, tile=16)


def test_features_of_other_sizes_are_refused() -> None:
    class Wrong(TinyFree):
        reach = Reach(9, 0, 8)

    with registered_families(), pytest.raises(OptionError, match="features of another size than its sources"):
        run(Wrong().eval(), pair(64, 64), None, tile=16)


def test_a_survey_that_gives_a_rule_of_too_much_reach(models: dict[str, FusionModel]) -> None:
    class Far(FixedWeights):
        reach = 3

    class Liar(Survey):
        def add(self, features: object, tile: Tile) -> None:
            return

        def rule(self) -> FusionRule:
            return Far(torch.full((2, 1, 1, 1, 1), 0.5))

    class Surveyed(Median):
        def survey(self, count, shape, memory):
            return Liar()

    said = r"'third-party' of .* has a survey that reaches 0 pixels, and the rule that it gives 3; Liar\.reach"
    with pytest.raises(PluginError, match=said):
        run(models["pixel"], pair(40, 40), Surveyed(), tile=16)


def test_surveys_with_several_passes_and_leaves() -> None:
    """Two leaves of other widths; the survey of each finds the mean of its own over the image, in two passes."""

    class Pair(EncoderDecoder):
        spec = TinyFree.spec.__class__("pair", "x:Pair", "a test", default_rule="mean")
        reach = Reach(0, 0)

        def encode(self, x: Tensor) -> dict[str, Tensor]:
            return {"one": x, "three": torch.cat([x, 2 * x, 3 * x], 1)}

        def decode(self, features: dict[str, Tensor], sources: object = None) -> Tensor:
            return features["one"] + features["three"].mean(1, keepdim=True)

    class Centred(FusionRule):
        def __init__(self, means: Tensor | None = None) -> None:
            self.means = means
            self.reach = None if means is None else 0

        def apply(self, features):
            stacked = torch.stack(list(features))
            means = stacked.mean((3, 4), keepdim=True) if self.means is None else self.means
            report = [] if self.means is None else [{"channels": self.means.shape[2]}] * len(features[0])
            return RuleResult((stacked - means).amax(0), None, report)

        def survey(self, count, shape, memory):
            return Means(count, shape)

    class Means(Survey):
        def __init__(self, count, shape):
            self.sums = torch.zeros(count, shape[0], shape[1], 1, 1)
            self.pixels = shape[2] * shape[3]
            self.passes = 0

        def add(self, features, tile):
            self.sums += torch.stack([tile.inner(each).sum((2, 3), keepdim=True) for each in features])

        def finish_pass(self):
            self.passes += 1
            return self.passes < self.sums.shape[2]

        def rule(self):
            assert self.passes == self.sums.shape[2]
            return Centred(self.sums / self.pixels / self.passes)

    model, units = Pair().eval(), pair(40, 45)
    tiled = run(model, units, Centred(), tile=17)
    assert_same(tiled, run(model, units, Centred()))
    assert tiled.report == {"leaves": [{"channels": 1}, {"channels": 3}]}
    assert tiled.tiles is not None
    assert tiled.tiles["passes"] == 4


# --- from the outside --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_and_its_record(tmp_path: Path) -> None:
    sources = [write_texture(tmp_path / f"{name}.png", seed, 170, 190) for seed, name in enumerate("ab")]
    whole, tiled = tmp_path / "whole.png", tmp_path / "tiled.png"
    assert run_cli(["fuse", *sources, "-o", whole, "--device", "cpu", "--rule", "sfnn"]).code == 0
    assert run_cli(["fuse", *sources, "-o", tiled, "--device", "cpu", "--rule", "sfnn", "--memory", "20MiB"]).code == 0
    records = [json.loads(path.with_name(path.name + ".json").read_text()) for path in (whole, tiled)]
    assert records[0]["tiles"] is None
    assert records[1]["tiles"]["memory"] == 20 << 20
    assert records[1]["tiles"]["number"] > 1
    assert records[1]["rule_report"]["norms"] == "exact"
    assert records[1]["rule_weights"] == records[0]["rule_weights"]
    assert np.abs(read_image(whole).pixels.astype(int) - _pixels(tiled)).max() <= 1
    done = run_cli(["fuse", *sources, "-o", tmp_path / "no.png", "--tile", "7"])
    assert (done.code, (tmp_path / "no.png").exists()) == (2, False)
    assert "--tile" in done.err or "tiles" in done.err


def _pixels(path: Path) -> np.ndarray:
    return read_image(path).pixels.astype(int)


def test_from_python(models: dict[str, FusionModel]) -> None:
    sources = [texture(1, 80, 60), texture(2, 80, 60)]
    fused = fusekit.fuse(sources, models["ehdran"], rule="max", tile=32)
    assert fused.record["tiles"]["number"] == 6
    assert np.abs(fused.image.astype(int) - fusekit.fuse(sources, models["ehdran"], rule="max").image).max() <= 1


def test_no_rule_is_the_models_own(models: dict[str, FusionModel]) -> None:
    units = pair(50, 60)
    tiled = run(models["ehdran"], units, None, tile=32)
    assert_same(tiled, run(models["ehdran"], units, None))
