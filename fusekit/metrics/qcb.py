"""``qcb``: preservation of perceived local contrast (Chen and Blum, 2009)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import pixel_mean, planes_of, ratio_or
from fusekit.metrics.windows import windowed

_F0, _F1, _A = 15.3870, 1.3456, 0.7622
_P, _Q, _Z = 3, 2, 0.0001


def stretched(planes: Tensor) -> Tensor:
    """Stretch each image of (…, H, W) from its extremes to whole levels 0…255, half rounded up; constants become 0."""
    low, high = planes.amin((-2, -1), keepdim=True), planes.amax((-2, -1), keepdim=True)
    return ((planes - low) / (high - low).where(high > low, 1) * 255 + 0.5).floor()


def frequencies(planes: Tensor, scale: float) -> Tensor:
    """Return the radial frequency of each term of ``rfft2`` of (…, H, W), the Nyquist frequency being side/scale."""
    height, width = planes.shape[-2:]
    down = torch.fft.fftfreq(height, 0.5 * scale / height, dtype=planes.dtype, device=planes.device)
    across = torch.fft.rfftfreq(width, 0.5 * scale / width, dtype=planes.dtype, device=planes.device)
    return torch.hypot(down[:, None], across)


def in_frequency(planes: Tensor, gain: Tensor) -> Tensor:
    """Filter (…, H, W) by a real ``gain`` on the terms of ``rfft2``; the image is taken to repeat."""
    return torch.fft.irfft2(torch.fft.rfft2(planes) * gain, s=planes.shape[-2:])


def contrast(planes: Tensor) -> Tensor:
    """Return the masked local contrast of (…, H, W) on the scale 0-255, after stretching; same shape."""
    radius = frequencies(planes, 30)
    sensitivity = torch.exp(-(radius / _F0).square()) - _A * torch.exp(-(radius / _F1).square())
    seen = in_frequency(stretched(planes), sensitivity)
    fine, coarse = (
        windowed(seen, [math.exp(-(offset**2) / (2 * sigma**2)) / sigma for offset in range(-15, 16)], "zero")
        for sigma in (2, 4)
    )
    local = (ratio_or(fine, coarse, 1.0) - 1).abs()
    return local.pow(_P) / (local.pow(_Q) + _Z)


def contrast_preservation(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q_CB for all sources, (B,), and for each alone, (N, B).

    Each image is stretched to 0…255 and rounded, filtered by the eye's contrast sensitivity (difference of Gaussians
    of radii 15.3870 and 1.3456, the second times 0.7622, at 1/30 of the image's size), and gets the contrast
    |G₂ ∗ I / G₄ ∗ I − 1| of Gaussians of σ = 2 and 4 in 31×31 windows with a zero border, masked by C³ / (C² + 0.0001).

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
    """
    masked = contrast(planes_of([*sources, fused]))
    own, of_fused = masked[:-1], masked[-1:]
    kept = ratio_or(torch.minimum(own, of_fused), torch.maximum(own, of_fused), 1.0)
    saliency = own.square()
    total = saliency.sum(0)
    mixed = torch.where(total == 0, kept.mean(0), ratio_or((kept * saliency).sum(0), total, 0.0))
    return pixel_mean(mixed), pixel_mean(kept)


class ContrastPreservation(SharedWorkMetric):
    """Q_CB: how much of the sources' perceived local contrast the fused image keeps, weighed by contrast squared.

    Equal images have 1. A constant image has no contrast: beside another constant, whatever its level, it keeps all,
    beside anything else nothing. Where no source has contrast they count alike. The definition extends to N sources as
    it is; a source's own value takes it for the only one. All images are stretched to their own extremes first, so
    that brightness and overall contrast do not matter.

    Far within a black area the contrast is a quotient of rounding errors, here as in published code: where a source
    has large ones, such as PET, values are reproducible to three digits.
    """

    range = (0.0, 1.0)
    data_range = "stretched to grey levels 0-255, rounded"
    look_alikes = (
        "Without rounding after the stretch, and with another centre of the filter on odd sizes (MetricsLab): differs "
        "by up to 0.07, on small images more."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return contrast_preservation(sources, fused)
