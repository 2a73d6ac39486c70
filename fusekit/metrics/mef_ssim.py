"""``mef-ssim``: structural similarity with all sources at once (Ma, Zeng and Wang, 2015), at three scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import AllSourcesMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.ms_ssim import halved
from fusekit.metrics.windows import fitting_side, gaussian, uniform, windowed

_EXPONENTS = (0.0448, 0.2856, 0.3001)
_WINDOW, _SIGMA = 11, 1.5
_C = (0.03 * 255) ** 2
_STEEPEST = 10.0
_TINY = 2.2e-16


def structure_map(sources: Tensor, fused: Tensor) -> Tensor:
    """Return how far each window has the structure wanted of it: (N, B, H, W), (B, H, W) → (B, h, w).

    Grey levels 0-255. The wanted window is Σ wᵢ·(Sᵢ − mean) / ‖Sᵢ − mean‖, stretched to the norm of the strongest
    source; wᵢ grows with the norm, the more steeply the more the sources agree. It meets the fused window in SSIM's
    contrast and structure term under a Gaussian of σ = 1.5. 11×11 pixels, or the largest odd square that fits.
    """
    side = fitting_side(_WINDOW, *fused.shape[-2:])
    spreads = _covariances(sources, uniform(side)) * side**2
    squares = spreads.diagonal().movedim(-1, 0).clamp_min(0)
    norms = squares.sqrt() + 0.001
    agreement = (spreads.sum((0, 1)).clamp_min(0).sqrt() + _TINY) / (squares.sqrt().sum(0) + _TINY)
    steepness = torch.tan(math.pi / 2 * agreement.clamp_max(1 - _TINY)).clamp_max(_STEEPEST)
    weights = (norms / side) ** steepness + _TINY
    factors = weights / weights.sum(0) / norms
    norm = _squared(factors, spreads).clamp_min(0).sqrt()
    # Below, all sources are flat.
    factors = factors * torch.where(norm > 1e-3, norms.amax(0) / norm.clamp_min(1e-3), 0)

    bell = gaussian(side, _SIGMA)
    within = _covariances(torch.cat([sources, fused[None]]), bell)
    wanted = _squared(factors, within[:-1, :-1]).clamp_min(0)
    both = (factors * within[:-1, -1]).sum(0)
    return (2 * both + _C) / (wanted + within[-1, -1].clamp_min(0) + _C)


def _covariances(images: Tensor, weights: list[float]) -> Tensor:
    """Return the local covariances of each image with each: (N, B, H, W) → (N, N, B, h, w)."""
    count = len(images)
    first, second = torch.triu_indices(count, count)
    means = windowed(images, weights)
    found = windowed(images[first] * images[second], weights) - means[first] * means[second]
    places = torch.empty(count, count, dtype=torch.int64)
    places[first, second] = places[second, first] = torch.arange(len(first))
    return found[places]


def _squared(factors: Tensor, covariances: Tensor) -> Tensor:
    """Return the variance of Σ fᵢ·Sᵢ: (N, B, h, w), (N, N, B, h, w) → (B, h, w)."""
    return (factors[:, None] * factors * covariances).sum((0, 1))


class MefSSIM(AllSourcesMetric):
    """Structural similarity of multi-exposure fusion: with the strongest structure of all sources, in each window.

    The product of the mean similarities at three scales, to exponents that sum to 1; a negative mean counts as 0.
    Flat images of any brightness have 1: brightness does not count. Any number of sources.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "ms-ssim: Wang's, source by source, five scales; fusion toolboxes call both MS-SSIM. At one scale (the paper's "
        "Q at the finest): usually higher."
    )

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        images = torch.stack([precise(image)[:, 0] for image in (*sources, fused)]) * 255
        value = torch.ones_like(images[0, :, 0, 0])
        for exponent in _EXPONENTS:
            similarity = structure_map(images[:-1], images[-1]).mean((1, 2)).clamp_min(0)
            value = value * similarity ** (exponent / sum(_EXPONENTS))
            images = torch.stack([halved(image) for image in images])
        return value
