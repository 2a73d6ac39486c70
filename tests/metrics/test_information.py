"""The information metrics on small images whose values are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.metrics import image, load, noise

from fusekit.metrics.ce import cross_entropy
from fusekit.metrics.en import entropy, entropy_of_values
from fusekit.metrics.fmi import PixelFMI, feature_mutual_information
from fusekit.metrics.fmi_features import cosine_coefficients, horizontal_gradient, sobel_edges, wavelet_coefficients
from fusekit.metrics.levels import levels
from fusekit.metrics.mi import mutual_information
from fusekit.metrics.nmi import joint_normalized_information, normalized_mutual_information
from fusekit.metrics.qncie import nonlinear_correlation_entropy
from fusekit.metrics.qte import tsallis_information

NAMES = (
    "mi.nats", "mi.mean", "nmi", "nmi.mean", "nmi.joint", "ce", "qncie", "qte", "qte.liu", "qte.nava", "en.float",
    "fmi.pixel", "fmi.gradient", "fmi.dct", "fmi.wavelet", "fmi.edge",
)  # fmt: skip
FMI = tuple(name for name in NAMES if name.startswith("fmi"))


HALVES, OTHER = image([[0, 0], [255, 255]]), image([[0, 255], [0, 255]])


# --- values in closed form ---------------------------------------------------------------------------------------


def test_mutual_information_in_other_units() -> None:
    sources, fused = [noise(1), noise(2)], noise(3)
    bits = [mutual_information(source, fused).item() for source in sources]
    assert load("mi.nats")(sources, fused).item() == pytest.approx(sum(bits) * math.log(2), rel=1e-12)
    assert load("mi.mean")(sources, fused).item() == pytest.approx(sum(bits) / 2, rel=1e-12)


def test_normalized_information_of_equal_and_independent_images() -> None:
    x = noise(4)
    assert normalized_mutual_information(x, 1 - x).item() == pytest.approx(1, rel=1e-12)
    assert joint_normalized_information(x, 1 - x).item() == pytest.approx(2, rel=1e-12)
    assert normalized_mutual_information(HALVES, OTHER).item() == 0
    assert joint_normalized_information(HALVES, OTHER).item() == 1


def test_normalized_information_sums_or_averages() -> None:
    sources = [HALVES, OTHER, 1 - HALVES]
    assert load("nmi")(sources, HALVES).item() == pytest.approx(2, rel=1e-12)
    assert load("nmi.mean")(sources, HALVES).item() == pytest.approx(2 / 3, rel=1e-12)
    assert load("nmi.joint")(sources, HALVES).item() == pytest.approx(5 / 3, rel=1e-12)


def test_cross_entropy_leaves_out_levels_of_one_image() -> None:
    source, fused = image([[0, 0, 0, 9]]), image([[0, 0, 5, 5]])
    source, fused = source.expand(1, 1, 2, 4), fused.expand(1, 1, 2, 4)
    assert cross_entropy(source, fused).item() == pytest.approx(0.75 * math.log2(0.75 / 0.5), rel=1e-12)
    assert cross_entropy(image([[1, 1], [2, 2]]), image([[3, 3], [4, 4]])).item() == 0
    assert cross_entropy(fused, fused).item() == 0


def test_entropy_of_floats_counts_distinct_values() -> None:
    x = noise(5)
    assert entropy_of_values(x).item() == pytest.approx(entropy(x).item(), rel=1e-12)
    fine = torch.linspace(0, 1, 4096, dtype=torch.float64).view(1, 1, 64, 64)
    assert entropy_of_values(torch.cat([fine, fine.round()])).tolist() == pytest.approx([12, 1], rel=1e-12)


def test_tsallis_information_of_two_levels() -> None:
    # p(x, y) = 1/2 on the diagonal: Σ p^q / (1/4)^(q − 1) = 2 · 2^−q · 4^(q − 1) = 2^(q − 1).
    for order in (1.85, 0.43137):
        expected = (1 - 2 ** (order - 1)) / (1 - order)
        assert tsallis_information(HALVES, HALVES, order).item() == pytest.approx(expected, rel=1e-12)
        assert tsallis_information(HALVES, OTHER, order).item() == pytest.approx(0, abs=1e-12)


def test_tsallis_information_is_symmetric_only_with_the_right_marginals() -> None:
    x, y = image([[0, 0], [1, 2]]), image([[0, 1], [1, 1]])
    for order in (1.85, 0.43137):
        forth, back = tsallis_information(x, y, order), tsallis_information(y, x, order)
        assert forth.item() == pytest.approx(back.item(), rel=1e-12)
        assert tsallis_information(x, y, order, swapped=True).item() != pytest.approx(forth.item(), rel=1e-3)


def test_normalized_tsallis_information_of_equal_images() -> None:
    q = 0.43137
    own = (1 - 2 ** (q - 1)) / (1 - q)
    metric = load("qte.nava")
    assert metric([HALVES], HALVES).item() == pytest.approx(own / 1, rel=1e-12)
    assert metric([HALVES] * 3, HALVES).item() == pytest.approx(3 * own / (3 + 3 * own), rel=1e-12)


def test_nonlinear_correlation_of_independent_and_of_rich_equal_images() -> None:
    for count in (2, 3, 4):
        alone = [torch.zeros_like(HALVES)] * count
        assert nonlinear_correlation_entropy(alone).item() == pytest.approx(1 - math.log(count, 256), rel=1e-12)
        rich = [image(np.arange(256).reshape(16, 16))] * count
        assert nonlinear_correlation_entropy(rich).item() == pytest.approx(1, rel=1e-9)


# --- feature mutual information ----------------------------------------------------------------------------------


def window_information(first: np.ndarray, second: np.ndarray) -> float:
    """Return one window's value by the full 9×9 joint distribution, as the paper has it: two (9,), none flat."""

    def bound(up: bool) -> np.ndarray:
        x, y = np.r_[0, below_first][:, None], np.r_[0, below_second][None]
        surface = np.minimum(x, y) if up else np.maximum(x + y - 1, 0)
        return np.diff(np.diff(surface, axis=0), axis=1)

    p, q = ((window - window.min()) / (window - window.min()).sum() for window in (first, second))
    below_first, below_second = p.cumsum(), q.cumsum()
    correlation = np.corrcoef(p, q)[0, 1]
    ranks = np.arange(1, 10)
    spread = [math.sqrt(ranks**2 @ share - (ranks @ share) ** 2) for share in (p, q)]
    coupled = bound(correlation >= 0)
    reach = (ranks @ coupled @ ranks - (ranks @ p) * (ranks @ q)) / (spread[0] * spread[1])
    mixed = correlation / reach
    joint = mixed * coupled + (1 - mixed) * np.outer(p, q)

    def total(shares: np.ndarray) -> float:
        return -sum(x * math.log(abs(x)) for x in shares.flatten() if x)

    return 2 * (total(p) + total(q) - total(joint)) / (total(p) + total(q))


def test_feature_information_of_windows_follows_the_definition() -> None:
    first, second = noise(6, 1, 1, 9, 8), noise(7, 1, 1, 9, 8)
    maps = [levels(first), levels(second)]
    x, y = maps[0][0].numpy(), maps[1][0].numpy()
    expected = [
        window_information(x[i : i + 3, j : j + 3].T.flatten(), y[i : i + 3, j : j + 3].T.flatten())
        for i in range(7)
        for j in range(6)
    ]
    value = feature_mutual_information([maps[0]], maps[1]).item()
    assert value == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def test_feature_information_of_flat_windows() -> None:
    flat, other, textured = image(np.full((3, 3), 7)), image(np.full((3, 3), 9)), noise(8, 1, 1, 3, 3)
    metric = PixelFMI()
    assert metric([flat], flat).item() == 1
    assert metric([flat], other).item() == 1
    assert metric([flat], textured).item() == 0
    assert metric([textured], flat).item() == 0
    spot = image([[5, 5, 5], [5, 90, 5], [5, 5, 5]])
    assert metric([spot], spot).item() == 1
    assert metric([spot], textured).item() == 0


def test_feature_information_treats_its_sources_alike() -> None:
    first, second, fused = (noise(seed, 1, 1, 20, 20).mul(3).round() / 3 for seed in (1, 2, 3))
    second[..., :10] = fused[..., :10]
    for name in FMI:
        assert load(name)([first, second], fused).item() == load(name)([second, first], fused).item()


def test_feature_information_ignores_contrast() -> None:
    x, y = noise(9), noise(10)
    for name in ("fmi.pixel", "fmi.gradient"):
        value = load(name)([x], y).item()
        assert load(name)([x * 0.5 + 0.25], y).item() == pytest.approx(value, abs=2e-3)


def test_cosine_coefficients_are_orthonormal() -> None:
    x = noise(11, 1, 1, 24, 31)
    found = cosine_coefficients(x)
    assert found.square().sum().item() == pytest.approx(levels(x).square().sum().item(), rel=1e-9)
    assert found[0, 0, 0].item() == pytest.approx(levels(x).sum().item() / math.sqrt(24 * 31), rel=1e-9)
    assert cosine_coefficients(image(np.full((6, 8), 3))).count_nonzero() == 1


def test_wavelet_coefficients_keep_energy_and_flatness() -> None:
    x = torch.zeros(1, 1, 260, 280, dtype=torch.float64)
    x[..., 110:150, 120:160] = noise(12, 1, 1, 40, 40)
    found = wavelet_coefficients(x)
    assert found.shape == (1, 2 * ((260 + 101) // 2), 2 * ((280 + 101) // 2))
    assert found.square().sum().item() == pytest.approx(levels(x).square().sum().item(), rel=1e-4)
    quarters = wavelet_coefficients(image(np.full((20, 31), 77)))[0]
    half = len(quarters) // 2
    assert quarters[:half, : quarters.shape[1] // 2].unique().tolist() == pytest.approx([154], rel=1e-5)
    assert len(quarters.unique()) <= 4


def test_sobel_edges_of_a_step() -> None:
    step = image(np.repeat([[10, 10, 10, 10, 200, 200, 200, 200, 200]], 6, 0))
    assert sobel_edges(step).sum() == 0  # both pixels beside the step are equally strong
    line = image(np.repeat([[10, 10, 60, 200, 230, 230, 230, 230, 230]], 6, 0))
    assert sobel_edges(line)[0].sum(0).tolist() == [0, 0, 6, 0, 0, 0, 0, 0, 0]


def test_gradients_of_eight_bit_images_are_exact() -> None:
    ramp = image(np.tile(np.arange(0, 93, 3), (5, 1)))
    assert horizontal_gradient(ramp.float()).unique().tolist() == [3]
    assert horizontal_gradient(ramp).unique().tolist() == [3]


# --- all of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mi.nats", "mi.mean", "nmi", "nmi.mean", "nmi.joint", "qte", *FMI])
def test_the_fused_image_prefers_its_own_source(name: str) -> None:
    metric = load(name)
    smooth = F.avg_pool2d(noise(6, 1, 1, 40, 40), 5, 1)
    shares = metric.rate([smooth, noise(7, 1, 1, 36, 36)], smooth)[1]
    assert shares[0].item() > shares[1].item()


def test_tsallis_information_of_all_levels_with_themselves() -> None:
    levels_once = image(np.arange(256).reshape(16, 16))
    expected = (256**0.85 - 1) / 0.85
    assert load("qte")([levels_once], levels_once).item() == pytest.approx(expected, rel=1e-9)
