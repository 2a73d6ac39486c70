"""The perceptual and structural metrics on small images whose values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.metrics import constant, image, load, noise

from fusekit.metrics.filters import planes_of
from fusekit.metrics.qs import edge_planes
from fusekit.metrics.ssim import structural_similarity

NAMES = ["qs", "qw", "qe", "qe.metricslab", "qy", "qc", "qc.liu", "qm", "qcb", "qcv"]
IDEAL = {"qm": 3, "qcv": 0}


@pytest.mark.parametrize("x", [noise(1), constant(0), constant(200)], ids=["noise", "black", "gray"])
@pytest.mark.parametrize("name", NAMES)
def test_equal_images_are_ideal(name: str, x: torch.Tensor) -> None:
    metric = load(name)
    for sources in ([x], [x, x]):
        assert metric(sources, x).item() == pytest.approx(IDEAL.get(name, 1), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["qs", "qw", "qe", "qe.metricslab", "qy", "qc", "qm", "qcb", "qcv"])
def test_the_order_of_two_sources_does_not_matter(name: str) -> None:
    metric, sources, fused = load(name), [noise(1), noise(2)], noise(3)
    assert metric(sources, fused).item() == pytest.approx(metric(sources[::-1], fused).item(), rel=1e-9)


def test_structural_metric_of_one_source_is_its_ssim() -> None:
    x, y = noise(1), noise(2)
    assert load("qs")([x], y).item() == pytest.approx(structural_similarity(x, y).item(), rel=1e-9)


def test_structural_metric_listens_to_the_source_with_variance() -> None:
    x, flat, other = noise(1), constant(80, 34, 47), noise(2)
    for name in ("qs", "qw"):
        metric = load(name)
        assert metric([x, flat], other).item() == pytest.approx(metric([x], other).item(), rel=1e-9)


def test_edge_factor_is_the_weighted_metric_of_edge_images() -> None:
    sources, fused = [noise(1) / 4, noise(2) / 4], noise(3) / 4
    *edges, of_fused = edge_planes(planes_of([*sources, fused]))[:, :, None] / 255
    factor = load("qw")(edges, of_fused).item()
    assert load("qe.metricslab")(sources, fused).item() == pytest.approx(factor, rel=1e-9)
    product = factor * load("qw")(sources, fused).item()
    assert load("qe")(sources, fused).item() == pytest.approx(product, rel=1e-9)


def test_similarity_takes_the_better_of_unlike_sources() -> None:
    x, other = noise(1), noise(2)
    assert load("qy")([x, other], x).item() == pytest.approx(1, rel=1e-9)
    assert load("qy")([other, x], x).item() == pytest.approx(1, rel=1e-9)


def test_similarity_leaves_out_windows_that_are_flat_in_both_sources() -> None:
    x, y = noise(1, 1, 1, 20, 20), noise(2, 1, 1, 20, 20)
    framed = [torch.nn.functional.pad(each, (0, 60, 0, 0)) for each in (x, y)]
    for name in ("qy", "qc", "qc.liu"):
        metric = load(name)
        narrow = [each[..., :26] for each in framed]
        expected = metric([narrow[0], narrow[0]], narrow[1]).item()
        assert metric([framed[0], framed[0]], framed[1]).item() == pytest.approx(expected, rel=1e-9)


def test_flat_windows_compare_by_their_means() -> None:
    expected = 2 * 40 * 80 / (40**2 + 80**2)
    for name in ("qy", "qc", "qc.liu"):
        assert load(name)([constant(40), constant(40)], constant(80)).item() == pytest.approx(expected, rel=1e-9)
        assert load(name)([constant(40)], noise(1, 1, 1, 20, 20)).item() == 0
        assert load(name)([constant(0)], constant(0)).item() == 1


def test_covariance_similarity_cuts_the_share() -> None:
    x = noise(1) * 0.5
    inverse = (1 - x) * 0.5
    values = {name: [load(name)(s, x).item() for s in ([x, inverse], [inverse, x])] for name in ("qc", "qc.liu")}
    assert values["qc"] == pytest.approx([1, 1], rel=1e-9)
    assert values["qc.liu"] == pytest.approx([1, 0], abs=1e-9)


def test_wavelet_metric_in_closed_form() -> None:
    checkerboard = np.indices((12, 9)).sum(0) % 2 * 2
    value = load("qm")([image(checkerboard)], constant(0, 12, 9)).item()
    assert value == pytest.approx((2 + math.exp(-2)) ** (2 / 3) * 3 ** (1 / 3), rel=1e-9)
    # One scale only.
    value = load("qm")([image(checkerboard[:3, :3])], constant(0, 3, 3)).item()
    assert value == pytest.approx(2 + math.exp(-2), rel=1e-9)
    x = image(np.random.default_rng(1).integers(0, 200, (10, 10)))
    assert load("qm")([x], x + 20 / 255).item() == pytest.approx(3, rel=1e-9)


@pytest.mark.parametrize(("name", "ideal"), [("qcb", 1), ("qcv", 0)])
def test_stretched_images_do_not_see_overall_contrast(name: str, ideal: float) -> None:
    x = image(np.random.default_rng(1).integers(0, 100, (37, 33)))
    assert load(name)([x, x], 2 * x + 9 / 255).item() == pytest.approx(ideal, abs=1e-9)


def test_perceived_error_of_a_dot_follows_the_formula() -> None:
    source, fused = np.zeros((16, 16)), np.zeros((16, 16))
    source[4, 5], fused[9, 2] = 255, 255
    down, across = np.meshgrid(*[np.fft.fftfreq(16) * 2 * 16 / 8] * 2, indexing="ij")
    radius = 0.144 * np.hypot(down, across)
    sensitivity = 2.6 * (0.0192 + radius) * np.exp(-(radius**1.1))
    seen = np.fft.ifft2(np.fft.fft2(source - fused) * sensitivity).real
    assert load("qcv")([image(source)], image(fused)).item() == pytest.approx((seen**2).mean(), rel=1e-9)


def test_perceived_error_fills_the_last_blocks_with_zeros() -> None:
    source, fused = np.zeros((16, 17)), np.zeros((16, 17))
    source[4, 5], fused[9, 2] = 255, 255
    down, across = np.meshgrid(np.fft.fftfreq(16) * 4, np.fft.fftfreq(17) * 2 * 17 / 8, indexing="ij")
    radius = 0.144 * np.hypot(down, across)
    sensitivity = 2.6 * (0.0192 + radius) * np.exp(-(radius**1.1))
    seen = np.fft.ifft2(np.fft.fft2(source - fused) * sensitivity).real[:, :16]
    assert load("qcv")([image(source)], image(fused)).item() == pytest.approx((seen**2).mean(), rel=1e-9)
