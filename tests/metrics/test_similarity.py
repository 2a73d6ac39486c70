"""The error, similarity and correlation metrics on small images whose values are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.metrics import image, load, noise

from fusekit.metrics.base import SourceMetric
from fusekit.metrics.cc import correlation
from fusekit.metrics.fsim import phase_congruency, sharp_congruency
from fusekit.metrics.gmsd import gradient_similarity_deviation
from fusekit.metrics.mef_ssim import structure_map
from fusekit.metrics.ms_ssim import halved, multi_scale_similarity
from fusekit.metrics.mse import mean_squared_error
from fusekit.metrics.psnr import peak_signal_noise_ratio
from fusekit.metrics.ssim import structural_similarity
from fusekit.metrics.uqi import universal_quality
from fusekit.metrics.windows import fitting_side, gaussian, moments, uniform, windowed

NAMES = (
    "mse", "mse.255", "rmse", "psnr.vifb", "psnr.cddfuse", "ssim.sum", "ms-ssim", "mef-ssim", "uqi", "cc", "scd",
    "vif", "vif.mean", "viff", "fsim", "fsim.ehdran", "gmsd",
)  # fmt: skip
# What an image has with itself.
OWN = {
    "mse": 0, "mse.255": 0, "rmse": 0, "psnr.vifb": math.inf, "psnr.cddfuse": math.inf, "ssim.sum": 1, "ms-ssim": 1,
    "mef-ssim": 1, "uqi": 1, "cc": 1, "scd": 1, "vif": 1, "vif.mean": 1, "viff": 1, "fsim": 1, "fsim.ehdran": 1,
    "gmsd": 0,
}  # fmt: skip


def smooth(seed: int, height: int, width: int) -> torch.Tensor:
    return F.avg_pool2d(noise(seed, 1, 1, height + 6, width + 6), 7, 1)


# --- windows -----------------------------------------------------------------------------------------------------


def test_windows_sum_as_a_convolution_does() -> None:
    x = noise(1)
    weights = torch.tensor(gaussian(5, 1.2), dtype=torch.float64)
    kernel = (weights[:, None] * weights)[None, None]
    assert torch.allclose(windowed(x, weights.tolist()), F.conv2d(x, kernel), rtol=1e-12)
    assert sum(gaussian(17, 3.4)) == pytest.approx(1, rel=1e-12)
    assert [fitting_side(11, *size) for size in ((20, 11), (9, 30), (8, 30), (1, 1))] == [11, 9, 7, 1]


def test_moments_of_one_window() -> None:
    x, y = noise(2, 1, 8, 8), noise(3, 1, 8, 8)
    found = [value.item() for value in moments(x, y, uniform(8))]
    covariance = np.cov(x.flatten(), y.flatten(), bias=True)
    expected = [x.mean().item(), y.mean().item(), covariance[0, 0], covariance[1, 1], covariance[0, 1]]
    assert found == pytest.approx(expected, rel=1e-9)


# --- errors ------------------------------------------------------------------------------------------------------


def test_errors_of_known_differences() -> None:
    fused = torch.full((1, 1, 6, 7), 0.5, dtype=torch.float64)
    sources = [fused + 0.1, fused - 0.3]
    assert mean_squared_error(sources[0], fused).item() == pytest.approx(0.01, rel=1e-12)
    assert load("mse")(sources, fused).item() == pytest.approx(0.05, rel=1e-12)
    assert load("mse.255")(sources, fused).item() == pytest.approx(0.05 * 65025, rel=1e-12)
    assert load("rmse")(sources, fused).item() == pytest.approx(0.2, rel=1e-12)
    rmse = load("rmse")
    assert isinstance(rmse, SourceMetric)
    assert rmse.worst(sources, fused).item() == pytest.approx(0.3, rel=1e-12)
    # √SSE / pixels = rmse / √pixels, on grey levels.
    mean = 255 * 0.2 / math.sqrt(42)
    assert load("psnr.vifb")(sources, fused).item() == pytest.approx(10 * math.log10(65025 / mean), rel=1e-12)
    assert load("psnr.cddfuse")(sources, fused).item() == pytest.approx(10 * math.log10(0.25 / 0.05), rel=1e-12)


def test_cddfuse_psnr_agrees_where_the_fused_image_reaches_white() -> None:
    fused = noise(4)
    fused[0, 0, 0, 0] = 1
    source = noise(5)
    expected = peak_signal_noise_ratio(source, fused).item()
    assert load("psnr.cddfuse")([source], fused).item() == pytest.approx(expected, rel=1e-12)
    assert load("psnr.cddfuse")([source], torch.zeros_like(fused)).item() == -math.inf


# --- correlation -------------------------------------------------------------------------------------------------


def test_correlation_ignores_scale_and_offset() -> None:
    x, y = noise(6), noise(7)
    assert correlation(x, 0.3 * x + 0.2).item() == pytest.approx(1, rel=1e-12)
    assert correlation(x, 0.9 - 0.3 * x).item() == pytest.approx(-1, rel=1e-12)
    assert correlation(x, y).item() == pytest.approx(np.corrcoef(x.flatten(), y.flatten())[0, 1], rel=1e-9)
    assert correlation(x, torch.full_like(x, 0.1)).item() == 0


def test_difference_correlation_of_two_and_three_sources() -> None:
    sources = [noise(seed) / 3 for seed in (1, 2, 3)]
    metric = load("scd")
    # A sum of its sources holds each whole.
    assert metric(sources[:2], sources[0] + sources[1]).item() == pytest.approx(2, rel=1e-9)
    assert metric(sources, torch.stack(sources).sum(0)).item() == pytest.approx(3, rel=1e-9)
    fused = noise(4)
    expected = correlation(fused - sources[1], sources[0]) + correlation(fused - sources[0], sources[1])
    assert metric(sources[:2], fused).item() == pytest.approx(expected.item(), rel=1e-9)
    shares = metric.rate(sources, fused)[1]
    assert shares.shape == (3, 1)
    assert metric(sources[:2], sources[0]).item() == pytest.approx(
        correlation(sources[0] - sources[1], sources[0]).item(), rel=1e-9
    )


# --- structure ---------------------------------------------------------------------------------------------------


def test_sum_of_structural_similarities() -> None:
    sources, fused = [noise(1), noise(2), noise(3)], noise(4)
    expected = sum(structural_similarity(source, fused).item() for source in sources)
    assert load("ssim.sum")(sources, fused).item() == pytest.approx(expected, rel=1e-12)


def test_multi_scale_similarity_of_constants_is_the_coarsest_luminance() -> None:
    a, b = image(np.full((200, 180), 102)), image(np.full((200, 180), 204))
    luminance = (2 * 0.4 * 0.8 + 1e-4) / (0.4**2 + 0.8**2 + 1e-4)
    assert multi_scale_similarity(a, b).item() == pytest.approx(luminance**0.1333, rel=1e-9)


def test_multi_scale_similarity_counts_negative_structure_as_zero() -> None:
    x = noise(5, 1, 1, 180, 180)
    assert multi_scale_similarity(x, 1 - x).item() == 0


def test_halving_repeats_an_odd_border() -> None:
    x = torch.tensor([[[1.0, 3, 5], [1, 3, 7]]])
    assert halved(x).tolist() == [[[2, 6]]]
    assert halved(x.mT).tolist() == [[[2], [6]]]


def test_universal_quality_follows_the_formula() -> None:
    x, y = noise(6, 1, 1, 8, 9), noise(7, 1, 1, 8, 9)
    expected = []
    for left in (0, 1):
        a, b = (z[0, 0, :, left : left + 8].flatten().numpy() * 255 for z in (x, y))
        covariance = np.cov(a, b)
        means = 2 * a.mean() * b.mean() / (a.mean() ** 2 + b.mean() ** 2)
        expected.append(2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1]) * means)
    assert universal_quality(x, y).item() == pytest.approx(sum(expected) / 2, rel=1e-9)


def test_universal_quality_of_flat_windows() -> None:
    dark, bright, black = (image(np.full((10, 12), level)) for level in (50, 100, 0))
    assert universal_quality(dark, bright).item() == pytest.approx(0.8, rel=1e-12)
    assert universal_quality(black, black).item() == 1
    assert universal_quality(black, bright).item() == 0
    assert universal_quality(dark, noise(8, 1, 1, 10, 12)).item() == pytest.approx(0, abs=1e-9)


def test_strongest_structure_wins() -> None:
    strong, weak = smooth(1, 60, 60), 0.45 + 0.1 * smooth(2, 60, 60)
    metric = load("mef-ssim")
    assert metric([strong, weak], strong).item() > 0.95
    assert metric([strong, weak], weak).item() < 0.6
    assert metric([strong, weak, weak], strong).item() > 0.9


def test_structure_of_one_source_is_contrast_and_structure() -> None:
    x, y = smooth(3, 30, 30), smooth(4, 30, 30)
    found = structure_map(x[0][None] * 255, y[0] * 255)
    _, _, variance_x, variance_y, covariance = moments(x[0] * 255, y[0] * 255, gaussian(11, 1.5))
    constant = (0.03 * 255) ** 2
    expected = (2 * covariance + constant) / (variance_x + variance_y + constant)
    # The norm of the strongest source has 0.001 added.
    assert torch.allclose(found, expected, rtol=1e-4)


# --- visual information ------------------------------------------------------------------------------------------


def test_information_falls_with_noise_and_rises_with_contrast() -> None:
    x = smooth(5, 80, 80)
    noisy = x + 0.1 * (noise(6, 1, 1, 80, 80) - 0.5)
    stretched = (x - 0.5) * 1.2 + 0.5
    for name in ("vif", "viff"):
        metric = load(name)
        assert metric([x], noisy).item() < 0.97
        assert metric([x], stretched).item() > 1
        assert metric([x], torch.full_like(x, 0.5)).item() == 0


def test_information_of_two_sources() -> None:
    x, y = smooth(7, 64, 64), smooth(8, 64, 64)
    fused = (x + y) / 2
    alone = [load("vif")([source], fused).item() for source in (x, y)]
    assert load("vif")([x, y], fused).item() == pytest.approx(sum(alone), rel=1e-12)
    assert load("vif.mean")([x, y], fused).item() == pytest.approx(sum(alone) / 2, rel=1e-12)
    worst = load("viff")([x, y], x).item()
    assert worst < load("viff")([x], x).item()
    assert load("viff")([x, y, y], x).item() == pytest.approx(worst, rel=1e-12)


# --- features ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("congruency", [phase_congruency, sharp_congruency])
def test_phase_congruency_marks_edges_at_any_contrast(congruency) -> None:
    step = torch.zeros(1, 64, 64, dtype=torch.float64)
    step[..., 32:] = 200
    found = congruency(step)[0]
    assert found[32, 31:33].min() > 0.5
    assert found[32, 31:33].min() > found[32, 4:28].max()
    assert torch.allclose(congruency(step / 4), congruency(step), atol=1e-3)
    assert congruency(torch.full_like(step, 9)).count_nonzero() == 0


def test_feature_similarity_averages_large_images() -> None:
    x, y = smooth(9, 400, 400), smooth(10, 400, 400)
    value = load("fsim")([x], y).item()
    assert value == pytest.approx(load("fsim")([F.avg_pool2d(x, 2)], F.avg_pool2d(y, 2)).item(), rel=1e-9)


def test_gradient_deviation_of_a_brighter_image_stands_at_the_border() -> None:
    x, y = image(np.full((20, 20), 50)), image(np.full((20, 20), 200))
    inner = torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    inner[..., 6:14, 6:14] = noise(11, 1, 1, 8, 8)
    assert gradient_similarity_deviation(x, y).item() > 0.1
    assert gradient_similarity_deviation(inner, inner).item() == 0
    # The darker, the less the gradients count against the constant.
    assert gradient_similarity_deviation(inner, inner / 2) > gradient_similarity_deviation(inner / 20, inner / 40)


# --- all of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_image_with_itself(name: str) -> None:
    x = smooth(12, 70, 66)
    assert load(name)([x], x).item() == pytest.approx(OWN[name], abs=1e-5)
