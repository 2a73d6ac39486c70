"""Rules of this package on images in tiles: what their surveys find is what the rules find in whole images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fusekit
from fusekit.evaluation.rate import read_luminance
from fusekit.extend import FusionModel, Survey, build_rule
from fusekit.fusing.run import run
from fusekit.images import samples
from fusekit.images.tiles import tiles
from fusekit.options import FuseOptions
from fusekit_ehdran.rules import sfnn_surveys
from fusekit_ehdran.rules.sfnn_surveys import GreatestNorms, _cosines, _tightened, _upper_bound

FAMILY = ("sfnn", "sfnn-mean", "sfnn-sum", "sfnn-channel")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: fusekit.load(name, device="cpu") for name in ("ehdran", "dilran")}


@pytest.fixture(scope="module")
def encoded(models: dict[str, Any]) -> list[Tensor]:
    """Features of the embedded sample's three images, (1, 64, 256, 256)."""
    with torch.inference_mode():
        return [models["ehdran"].encode(read_luminance(samples.path(name)).float()) for name in ("ct", "mri", "pet")]


def part(name: str, height: int, width: int) -> np.ndarray:
    """Return a part of the sample that holds background, edges and tissue."""
    return read_luminance(samples.path(name))[0, 0, :height, 40 : 40 + width].float().numpy().copy()


def surveyed(survey: Survey, features: list[Tensor], sides: tuple[int, int], multiple: int = 1) -> tuple[Any, int]:
    passes = 0
    while True:
        for tile in tiles(features[0].shape[2:], sides, survey.reach, multiple):
            survey.add([tile.window(each) for each in features], tile)
        passes += 1
        if not survey.finish_pass():
            return survey.rule(), passes


@pytest.mark.slow
@pytest.mark.parametrize("rule", [*FAMILY, "sfnn-local"])
@pytest.mark.parametrize(("name", "size", "side"), [("ehdran", (101, 87), 33), ("dilran", (70, 130), 50)])
def test_tiles_give_what_the_whole_gives(
    models: dict[str, FusionModel], name: str, rule: str, size: tuple[int, int], side: int
) -> None:
    model = models[name]
    units = [part(each, *size) for each in ("ct", "mri", "pet")]
    chosen = model.choose_rule(rule)
    whole, tiled = (run(model, [units], chosen, FuseOptions(tile=each))[0] for each in ("auto", side))
    assert np.abs(tiled.image - whole.image).max() <= 1e-5
    assert tiled.weights is not None
    assert whole.weights is not None
    found, expected = tiled.weights[0].as_dict(), whole.weights[0].as_dict()
    assert found["per"] == expected["per"]
    for key in ("mean", "min", "max"):
        assert found.get(key) == (None if key not in expected else pytest.approx(expected[key], abs=3e-6))


@pytest.mark.slow
@pytest.mark.parametrize(("maps", "least", "most"), [(0, 2, 4), (4, 1, 1), (64, 1, 1)])
@pytest.mark.parametrize("preview", [True, False])
def test_few_channels_are_collected_and_fewer_decomposed(
    encoded: list[Tensor], maps: int, least: int, most: int, preview: bool
) -> None:
    """``maps`` are collected at a time; with those that win in a preview no further pass is needed."""
    features = [torch.cat([each, each.flip(1)])[..., 30:190, 20:220] for each in encoded[:2]]
    rule: Any = build_rule("sfnn")
    survey = rule.survey(2, features[0].shape, maps * 4 * 160 * 200 * 4)
    assert isinstance(survey, GreatestNorms)
    if preview:
        survey.preview([torch.nn.functional.avg_pool2d(each, 4) for each in features])
    found, passes = surveyed(survey, features, (100, 77))
    torch.testing.assert_close(found.weights(features), rule.weights(features), rtol=1e-5, atol=1e-6)
    assert found.reach == 0
    assert least <= passes <= most + (not preview)
    report = found.apply(features).report
    assert [each["norms"] for each in report] == ["exact"] * 2
    counts = [count for each in report for source in each["decomposed_channels"] for count in source]
    assert [1 <= count <= 2 for count in counts] == [True] * 4


def test_the_bounds_are_bounds() -> None:
    generator = torch.Generator().manual_seed(3)
    smooth = torch.rand(40, 1, generator=generator) * torch.rand(1, 90, generator=generator)
    for maps in (torch.rand(40, 30, generator=generator), torch.randn(20, 50, generator=generator) ** 4, smooth):
        norm = float(torch.linalg.svdvals(maps.double()).sum())
        squares, rank = maps.double().square().sum(), min(maps.shape)
        plain = float((rank * squares).sqrt())
        for count in (1, 3, 8):
            waves = _cosines(maps.shape[1], count)
            assert (waves.double().T @ waves.double() - torch.eye(count)).abs().max() < 1e-6
            coarse = float(_upper_bound(torch.linalg.svdvals(maps @ waves), squares, rank))
            assert norm * (1 - 1e-5) <= coarse <= plain
        assert norm * (1 - 1e-5) <= _tightened(maps) <= coarse * (1 + 1e-5)


def test_features_without_content() -> None:
    zeros = [torch.zeros(1, 8, 20, 30)] * 2
    for name in FAMILY:
        rule: Any = build_rule(name)
        found, _ = surveyed(rule.survey(2, zeros[0].shape, 1 << 30), zeros, (16, 16))
        torch.testing.assert_close(found.weights(zeros), rule.weights(zeros), rtol=1e-5, atol=1e-6)
        assert (found.weights(zeros) == 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize(("side", "most"), [(128, 0.005), (64, 0.011)])
def test_norms_from_block_means_give_nearly_the_same_weights(
    encoded: list[Tensor], side: int, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sfnn_surveys, "EXACT_SIDE", side)
    for name, limit in (("sfnn-mean", most / 3), ("sfnn-channel", most)):
        rule: Any = build_rule(name)
        found, passes = surveyed(rule.survey(3, encoded[0].shape, 1 << 40), encoded, (100, 77))
        assert passes == 1
        error = (found.weights(encoded) - rule.weights(encoded)).abs().max()
        assert 0 < error < limit
        block = 256 // side
        assert f"means over {block}×{block} pixels" in found.weigh(encoded).report[0]["norms"]


def test_block_means_of_smooth_maps_are_exact_at_ragged_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps that are constant on blocks of 4×4 pixels, the last ones cut off, lose nothing."""
    generator = torch.Generator().manual_seed(5)
    blocks = torch.randn(2, 1, 6, 9, 7, generator=generator)
    features = list(blocks.repeat_interleave(4, 3).repeat_interleave(4, 4)[..., :34, :27])
    rule: Any = build_rule("sfnn-channel")
    monkeypatch.setattr(sfnn_surveys, "EXACT_SIDE", 9)
    found, _ = surveyed(rule.survey(2, features[0].shape, 1 << 40), features, (10, 13))
    assert "4×4" in found.weigh(features).report[0]["norms"]
    torch.testing.assert_close(found.weights(features), rule.weights(features), rtol=1e-4, atol=1e-5)


def test_little_memory_makes_larger_blocks() -> None:
    shape = (1, 64, 400, 300)
    survey: Any = build_rule("sfnn-mean").survey(2, shape, 2 * 64 * 4 * 200 * 150)
    assert survey._block == 2


def test_local_statistics_of_several_images_at_once() -> None:
    generator = torch.Generator().manual_seed(8)
    features = [torch.randn(2, 5, 90, 76, generator=generator) + 3 for _ in range(3)]
    features[1][1] *= 4
    rule = build_rule("sfnn-local")
    found, passes = surveyed(rule.survey(3, features[0].shape, 0), features, (31, 40), rule.multiple)
    assert passes == 2
    torch.testing.assert_close(found.apply(features).features, rule.apply(features).features, atol=2e-5, rtol=0)


def test_surveys_of_volumes_are_refused() -> None:
    for name in (*FAMILY, "sfnn-local"):
        assert build_rule(name).survey(2, (1, 4, 5, 6, 7), 1) is None
