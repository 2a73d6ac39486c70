"""``vif``: visual information fidelity in the pixel domain (Sheikh and Bovik, 2006)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import TogetherMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.windows import fitting_side, gaussian, windowed

_SIDES = (17, 9, 5, 3)
_NOISE = 2.0
# Variances in squared grey levels below which a window counts as flat.
_FLAT = 1e-10


def information_fidelity(sources: Tensor, fused: Tensor) -> Tensor:
    """Return the fidelity of each of N sources in the fused image: (N, B, H, W), (B, H, W) in [0, 1] → (N, B).

    1 where a source is constant: it has no information to lose.
    """
    kept: Tensor = sources.new_zeros(sources.shape[:2])
    there = torch.zeros_like(kept)
    for gain, left, variance in gain_maps(sources, fused):
        kept = kept + torch.log1p(gain.square() * variance / (left + _NOISE)).sum((2, 3))
        there = there + torch.log1p(variance / _NOISE).sum((2, 3))
    return (kept / there).where(there > 0, 1)


def gain_maps(sources: Tensor, fused: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield, for each of four scales, how each window of the fused image follows from the sources' windows.

    The model is F = g·S + v. Windows are Gaussians of 17, 9, 5 and 3 pixels and σ of a fifth of it, within the image
    only; between scales both images are smoothed by the next window and every second pixel is kept. Where a window
    does not fit, the largest odd one that does takes its place.

    Args:
        sources: (N, B, H, W) in [0, 1].
        fused: (B, H, W).

    Yields:
        g ≥ 0, the variance of v, at least 1e-10, and the variance of S, (N, B, h, w) each, in squared grey levels.
    """
    count = len(sources)
    images = torch.cat([sources, fused[None]]) * 255
    for scale, side in enumerate(_SIDES):
        side = fitting_side(side, *images.shape[2:])
        window = gaussian(side, side / 5)
        if scale:
            images = windowed(images, window)[..., ::2, ::2]
            side = fitting_side(side, *images.shape[2:])
            window = gaussian(side, side / 5)
        sums = windowed(torch.cat([images, images.square(), images[:-1] * images[-1]]), window)
        means, squares, products = sums[: count + 1], sums[count + 1 : -count], sums[-count:]
        variances = (squares - means.square()).clamp_min(0)
        ours, theirs = variances[:-1], variances[-1:]
        covariance = products - means[:-1] * means[-1:]
        blank = (ours < _FLAT) | (theirs < _FLAT)
        gain = (covariance / (ours + _FLAT)).clamp_min(0).masked_fill(blank, 0)
        left = (theirs - gain * covariance).clamp_min(_FLAT)
        yield gain, left, ours.masked_fill(ours < _FLAT, 0)


class VisualInformationFidelity(TogetherMetric):
    """Visual information fidelity in the pixel domain of each source in the fused image, summed over the sources.

    1 for a source that equals the fused image, and for a constant one, which has no information to lose; above 1 where
    the fused image raises a source's contrast. The sum grows with the number of sources.
    """

    range = (0.0, math.inf)
    data_range = "grey levels 0-255, not rounded; noise variance 2"
    combine = "sum"
    look_alikes = (
        "vif.mean: the mean of the sources. viff: Han's fidelity for fusion. The paper's own wavelet-domain form "
        "differs. CDDFuse calls this sum VIFF."
    )

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return information_fidelity(torch.stack([precise(source)[:, 0] for source in sources]), precise(fused)[:, 0])


class MeanVisualInformationFidelity(VisualInformationFidelity):
    """``vif``, the mean over the sources, so that values for different numbers of sources compare."""

    combine = "mean"
    look_alikes = "vif: the sum of the sources."
