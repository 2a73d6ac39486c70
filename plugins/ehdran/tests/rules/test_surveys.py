"""Rules of this package on images in tiles: what their surveys find is what the rules find in whole images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fusekit
from fusekit.extend import FusionModel, Survey, Tile, build_rule
from fusekit_ehdran.rules import sfnn_surveys
from fusekit_ehdran.rules.sfnn_surveys import GreatestNorms, _cosines, _tightened, _upper_bound

FAMILY = ("sfnn", "sfnn-mean", "sfnn-sum", "sfnn-channel")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: fusekit.load(name, device="cpu") for name in ("ehdran", "dilran")}


def heads(side: int = 256) -> list[np.ndarray]:
    """Return three images (side, side) of one head in [0, 1]: bone, tissue with grain, and a smooth uptake."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    grain = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)

    def inside(high: float, wide: float, top: float = 0, left: float = 0) -> np.ndarray:
        return ((y - top) / high) ** 2 + ((x - left) / wide) ** 2 < 1

    skull, brain = inside(0.9, 0.72), inside(0.8, 0.62)
    ventricles = inside(0.3, 0.12, -0.1, -0.15) | inside(0.3, 0.12, -0.1, 0.15)
    folds = 0.5 + 0.25 * np.sin(9 * x + 4 * y) * np.cos(11 * y - 3 * x) + 0.02 * grain
    uptake = np.exp(-8 * ((y + 0.3) ** 2 + (x - 0.2) ** 2)) + 0.6 * np.exp(-20 * ((y - 0.4) ** 2 + (x + 0.2) ** 2))
    bone = np.where(brain, 0.3 + 0.01 * grain, np.where(skull, 1, 0))
    tissue = np.where(ventricles, 0.1, np.where(brain, folds, np.where(skull, 0.15, 0)))
    return [each.clip(0, 1).astype(np.float32) for each in (bone, tissue, brain * uptake)]


@pytest.fixture(scope="module")
def encoded(models: dict[str, Any]) -> list[Tensor]:
    """Features of the three images of a head, (1, 64, 256, 256)."""
    with torch.inference_mode():
        return [models["ehdran"].encode(torch.from_numpy(each)[None, None]) for each in heads()]


def cut(size: tuple[int, int], sides: tuple[int, int], reach: int, multiple: int) -> Iterator[Tile]:
    """Yield the tiles of an image, whose windows begin and end at multiples, inside the image."""

    def seen(core: slice, length: int) -> slice:
        start, stop = max(core.start - reach, 0), core.stop + reach
        return slice(start - start % multiple, min(stop + -stop % multiple, length))

    rows, columns = (
        [slice(start, min(start + side, length)) for start in range(0, length, side)]
        for length, side in zip(size, sides, strict=True)
    )
    for row in rows:
        for column in columns:
            yield Tile((row, column), (seen(row, size[0]), seen(column, size[1])))


def surveyed(survey: Survey, features: list[Tensor], sides: tuple[int, int], multiple: int = 1) -> tuple[Any, int]:
    passes, (height, width) = 0, features[0].shape[2:]
    while True:
        for tile in cut((height, width), sides, survey.reach, multiple):
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
    pixels = [each[: size[0], 40 : 40 + size[1]] for each in heads()]
    whole, tiled = (fusekit.fuse(pixels, models[name], rule=rule, tile=each) for each in ("off", side))
    assert np.abs(tiled.image - whole.image).max() <= 1e-5
    found, expected = tiled.record["rule_weights"][0], whole.record["rule_weights"][0]
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
