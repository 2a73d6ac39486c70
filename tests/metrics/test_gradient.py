"""The gradient and contrast metrics on small images whose values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.metrics import constant, image, load, noise

IDEAL = {
    "qabf": 0.9994 * 0.9879 / (1 + math.exp(-22 * 0.2)),
    "qabf.kumar": math.sqrt(0.9999 / (1 + math.exp(-9.5)) * 0.9995 / (1 + math.exp(-11))),
    "labf": 1 - math.sqrt(0.9999 / (1 + math.exp(-9.5)) * 0.9995 / (1 + math.exp(-11))),
    "nabf": 0,
    "nabf.petrovic": 0,
    "qg": 1 / (1 + math.exp(-5)) / (1 + math.exp(-5)),
    "qsf": 0,
    "qsf.metricslab": 0,
}


@pytest.mark.parametrize("name", IDEAL)
def test_equal_images_are_ideal(name: str) -> None:
    # Each pixel has an edge of at least two levels, save a corner where the border is mirrored.
    x = image(np.add.outer(np.arange(20) ** 2 // 4, np.arange(23) * 5 + 20))
    value = load(name)([x, x], x).item()
    assert value == pytest.approx(IDEAL[name], rel=1e-6, abs=1e-6)


def test_ramps() -> None:
    ramp = image(np.tile(np.arange(9) * 3, (6, 1)))
    assert load("ei")([], ramp).item() == pytest.approx(3 * (8 * 7 + 4 * 2) / 9, rel=1e-12)
    assert load("sf.diff")([], ramp).item() == pytest.approx(3, rel=1e-12)
    assert load("ag.mn")([], ramp).item() == pytest.approx(3 / math.sqrt(2), rel=1e-12)


@pytest.mark.parametrize("name", ["qsf", "qsf.metricslab"])
def test_frequency_ratio_of_a_weakened_image(name: str) -> None:
    x = noise(1)
    metric = load(name)
    assert metric([x], x / 2).item() == pytest.approx(-0.5, rel=1e-9)
    assert metric([x / 2, constant(9, 34, 47)], x).item() == pytest.approx(1, rel=1e-9)
    assert metric([x, x / 4], x / 2).item() == pytest.approx(-0.5, rel=1e-9)
    assert metric([constant(3)], constant(7)).item() == 0
    assert metric([constant(3, 34, 47)], x).item() == math.inf


def test_frequency_ratio_weighs_diagonals_by_the_root() -> None:
    x, y = torch.zeros(1, 1, 8, 9), noise(3, 1, 1, 8, 9)
    x[0, 0, 3, 4] = 1
    levels = y[0, 0].numpy() * 255
    square = np.diff(levels, axis=0) ** 2
    total = square.sum() + (np.diff(levels, axis=1) ** 2).sum()
    total += ((levels[1:, 1:] - levels[:-1, :-1]) ** 2).sum() / math.sqrt(2)
    total += ((levels[1:, :-1] - levels[:-1, 1:]) ** 2).sum() / math.sqrt(2)
    single = 255**2 * (4 + 4 / math.sqrt(2))
    assert load("qsf")([x], y).item() == pytest.approx(math.sqrt(total / single) - 1, rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_kept_lost_and_added_edges_add_up(count: int) -> None:
    sources, fused = [noise(seed) for seed in range(count)], noise(9)
    parts = [load(name).rate(sources, fused) for name in ("qabf.kumar", "labf", "nabf")]
    assert sum(value for value, _ in parts).item() == pytest.approx(1, rel=1e-12)
    assert sum(values for _, values in parts).flatten().tolist() == pytest.approx([1] * count, rel=1e-12)


def test_artefacts_of_petrovic_count_all_unpreserved_shares() -> None:
    flat, edges = constant(90), noise(5, 1, 1, 20, 20)
    shares = [load(name)([flat, flat], edges).item() for name in ("nabf", "nabf.petrovic")]
    assert shares[1] == pytest.approx(2 * shares[0], rel=1e-9)
    assert shares[0] > 0.98


def gradient_angle(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    around = np.pad(levels, 1)
    strength, angle = np.zeros(levels.shape), np.zeros(levels.shape)
    for row, column in np.ndindex(*levels.shape):
        patch = around[row : row + 3, column : column + 3]
        x = (patch * [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).sum()
        y = (patch * [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]).sum()
        strength[row, column] = math.hypot(x, y)
        angle[row, column] = math.pi / 2 if x == 0 else math.atan(y / x)
    return strength, angle


def test_edge_preservation_follows_the_formula() -> None:
    sources, fused = [noise(1, 1, 1, 6, 7), noise(2, 1, 1, 6, 7)], noise(3, 1, 1, 6, 7)
    fused_strength, fused_angle = gradient_angle(np.rint(fused[0, 0].numpy() * 255))
    kept = total = 0.0
    for source in sources:
        strength, angle = gradient_angle(np.rint(source[0, 0].numpy() * 255))
        for place in np.ndindex(*strength.shape):
            relative = min(strength[place], fused_strength[place]) / max(strength[place], fused_strength[place])
            alike = 1 - abs(angle[place] - fused_angle[place]) * 2 / math.pi
            quality = 0.9994 / (1 + math.exp(-15 * (relative - 0.5)))
            quality *= 0.9879 / (1 + math.exp(-22 * (alike - 0.8)))
            kept += quality * strength[place]
            total += strength[place]
    assert load("qabf")(sources, fused).item() == pytest.approx(kept / total, rel=1e-9)


def test_no_edges_in_the_sources() -> None:
    black, rough = constant(0), noise(1, 1, 1, 20, 20)
    assert load("qabf")([black, black], rough).item() == 0
    assert load("nabf")([black], black).item() == 0
    unpreserved = 1 - math.sqrt(0.9999 / (1 + math.exp(9.5)) * 0.9995 / (1 + math.exp(-11)))
    assert load("labf")([black], black).item() == pytest.approx(unpreserved, rel=1e-9)
    assert load("qg")([black], black).item() == pytest.approx(IDEAL["qg"], rel=1e-9)


def test_phase_congruency_finds_blocks() -> None:
    levels = np.full((48, 48), 40)
    levels[12:30, 16:36] = 200
    blocks, metric = image(levels), load("qp")
    other = image(np.roll(levels, (9, -7), (0, 1)))
    assert metric([blocks, blocks], blocks).item() > 0.9
    assert metric([blocks, blocks], blocks).item() > metric([blocks, other], other).item() - 0.05
    assert metric([blocks], other).item() < 0.6
    assert metric([constant(50, 48, 48)], constant(50, 48, 48)).item() == 0
