"""``qs``, ``qw`` and ``qe``: structural similarity weighed by saliency (Piella and Heijmans, 2003)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import FLAT, derivatives, pixel_mean, pixel_sum, planes_of
from fusekit.metrics.windows import window_within, windowed

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
#: The variance that a window counts with, in squared grey levels, where all sources are flat.
_FLAT_VARIANCE = 0.5


def local_quality(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the SSIM of each source with the fused image, and the sources' variances, in all windows.

    11×11 Gaussian window of σ = 1.5 within the image, or the largest odd one that fits; K₁ = 0.01, K₂ = 0.03, L = 255.

    Args:
        planes: the sources and, last, the fused image, (N + 1, B, H, W) on the scale 0-255.

    Returns:
        two (N, B, H', W').
    """
    window = window_within(planes, 11, 1.5)
    count = len(planes) - 1
    moments = windowed(torch.cat([planes, planes.square(), planes[:-1] * planes[-1:]]), window)
    mean, square, product = torch.tensor_split(moments, [count + 1, 2 * count + 2])
    variance = square - mean.square()
    covariance = product - mean[:-1] * mean[-1:]
    luminance = (2 * mean[:-1] * mean[-1:] + _C1) / (mean[:-1].square() + mean[-1:].square() + _C1)
    return luminance * (2 * covariance + _C2) / (variance[:-1] + variance[-1:] + _C2), variance[:-1]


def weighted_quality(planes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return Q and Q_W for all sources, (B,) each, and for each source alone, (N, B) each; ``planes`` as above."""
    quality, variance = local_quality(planes)
    variance = variance.where(variance > FLAT, 0.0)
    saliency = variance.where(variance.sum(0) > 0, _FLAT_VARIANCE)
    mixed = (quality * saliency).sum(0) / saliency.sum(0)
    most = saliency.amax(0)
    weighted = pixel_sum(mixed * most) / pixel_sum(most)
    own = variance.where(variance > 0, _FLAT_VARIANCE)
    return pixel_mean(mixed), weighted, pixel_mean(quality), pixel_sum(quality * own) / pixel_sum(own)


def edge_planes(planes: Tensor) -> Tensor:
    """Return the Prewitt gradient magnitudes of (…, H, W) with a zero border."""
    along_x, along_y = derivatives(planes, 1, "zero")
    return (along_x.square() + along_y.square()).sqrt()


class Structural(SharedWorkMetric):
    """Q: the SSIM with each source, weighed in each window by the sources' variances there; the mean over the windows.

    Equal images have 1, constant ones too. Where all sources are flat they count alike. The definition extends to N
    sources as it is; a source's own value is its mean SSIM.
    """

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "The paper has the universal quality index in sliding uniform windows for the SSIM in Gaussian ones, which "
        "values in circulation use: lower on flat regions."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        quality, _, alone, _ = weighted_quality(planes_of([*sources, fused]))
        return quality, alone


class StructuralWeighted(SharedWorkMetric):
    """Q_W: like ``qs``, with each window weighed by the greatest of the sources' variances.

    Equal images have 1, constant ones too. Where all sources are flat they count alike, with a variance of 0.5 squared
    grey levels. The definition extends to N sources as it is; a source's own value takes it for the only one.
    """

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "The paper's universal quality index for the SSIM: differs by some hundredths."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        _, quality, _, alone = weighted_quality(planes_of([*sources, fused]))
        return quality, alone


class StructuralEdges(SharedWorkMetric):
    """Q_E: Q_W of the images times Q_W of their Prewitt edge images, that is with the exponent α = 1.

    Equal images have 1, constant ones too. Two negative factors make a positive value. The definition extends to N
    sources as it is; a source's own value takes it for the only one.
    """

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "qe.metricslab leaves the first factor out: higher. With an exponent α < 1 on the edges' factor: higher. A "
        "widespread MATLAB toolbox stops with an error here."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        planes = planes_of([*sources, fused])
        _, quality, _, alone = weighted_quality(planes)
        _, of_edges, _, of_edges_alone = weighted_quality(edge_planes(planes))
        return quality * of_edges, alone * of_edges_alone


class StructuralEdgesOnly(SharedWorkMetric):
    """Q_W of the Prewitt edge images alone, which the MetricsLab package calls Q_E; rules as for ``qw``."""

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "qe, the paper's, multiplies with the Q_W of the images themselves: lower."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        _, quality, _, alone = weighted_quality(edge_planes(planes_of([*sources, fused])))
        return quality, alone
