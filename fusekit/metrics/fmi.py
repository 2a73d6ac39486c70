"""``fmi.*``: feature mutual information with the sources (Haghighat and Razian, 2014), for five features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import SourceMetric
from fusekit.metrics.fmi_features import (
    cosine_coefficients,
    horizontal_gradient,
    levels,
    sobel_edges,
    wavelet_coefficients,
)

_SIDE = 3
_CELLS = _SIDE**2
# Windows at once: what fits into a processor's cache.
_CHUNK = 8192
_PUBLISHED = (
    "The published code meets the second source with a window that it has normalised for the first one, and gives 0 "
    "for 1 where both equal it and one pixel alone differs: lower by up to 0.02 on images with flat regions."
)


@dataclass
class _Windows:
    """Windows of a feature map as distributions over their nine pixels, column by column; all are (9, n) or (n,).

    Attributes:
        raw: the features.
        flat: whether all nine are equal; the distribution is uniform then.
        share: the features stretched to 0…1 and divided by their sum.
        log: the logarithm of `share`, 0 where that is 0.
        below: cumulative sums of `share`.
        spread: Σ (share − 1/9)².
        mean: Σ k·share, k = 1…9.
        deviation: √(Σ k²·share − mean²).
        entropy: −Σ share·log share, in nats.
    """

    raw: Tensor
    flat: Tensor
    share: Tensor
    log: Tensor
    below: Tensor
    spread: Tensor
    mean: Tensor
    deviation: Tensor
    entropy: Tensor


def _distributions(raw: Tensor) -> _Windows:
    """Describe windows (9, n)."""
    least, most = raw.aminmax(dim=0)
    flat = least == most
    share = ((raw - least) / torch.where(flat, 1, most - least)).masked_fill_(flat, 1)
    share = share / share.sum(0)
    log = torch.where(share > 0, share, 1).log()
    ranks = torch.arange(1, _CELLS + 1, dtype=raw.dtype, device=raw.device)
    mean = ranks @ share
    variance = ranks.square() @ share - mean.square()
    return _Windows(
        raw=raw,
        flat=flat,
        share=share,
        log=log,
        below=_cumulated(share),
        spread=(share.square().sum(0) - 1 / _CELLS).clamp_min(0).masked_fill(flat, 0),
        mean=mean,
        # A single pixel with all the weight leaves rounding only.
        deviation=variance.where(variance > 1e-13, 0).sqrt(),
        entropy=-(share * log).sum(0),
    )


def _cumulated(share: Tensor) -> Tensor:
    below = share.cumsum(0).clamp_max_(1)
    below[-1] = 1
    return below


def _overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Walk the coupling of two distributions that keeps their order (Fréchet's upper bound).

    Args:
        first: cumulative sums, (9, n), the last 1.
        second: likewise.

    Returns:
        for at most 17 cells of the joint distribution: the rows and the columns, (17, n), and the weights there.
    """
    count = first.shape[1]
    row = torch.zeros(1, count, dtype=torch.int64, device=first.device)
    column = torch.zeros_like(row)
    start = torch.zeros_like(first[:1])
    rows, columns, weights = [], [], []
    for _ in range(2 * _CELLS - 1):
        rows.append(row)
        columns.append(column)
        end_row, end_column = first.gather(0, row), second.gather(0, column)
        end = torch.minimum(end_row, end_column)
        weights.append(end - start)
        start = end
        row = (row + (end_row <= end_column)).clamp_max_(_CELLS - 1)
        column = (column + (end_column <= end_row)).clamp_max_(_CELLS - 1)
    return torch.cat(rows), torch.cat(columns), torch.cat(weights)


def _information(source: _Windows, fused: _Windows) -> Tensor:
    """Return 2·I / (H + H) of each window, of a joint distribution with the windows' correlation: (n,).

    The joint distribution mixes Fréchet's bound, the upper one for a positive and the lower one for a negative
    correlation, with the independent one, so that its ranks correlate as the windows do. The lower bound is the upper
    one with one side's pixels in reverse order.
    """
    overlap = (source.share * fused.share).sum(0) - 1 / _CELLS
    product = source.spread * fused.spread
    correlation = overlap / torch.where(product > 0, product, 1).sqrt()
    backward = correlation < 0
    share = torch.where(backward, source.share.flip(0), source.share)
    log = torch.where(backward, source.log.flip(0), source.log)
    mean = torch.where(backward, _CELLS + 1 - source.mean, source.mean)
    rows, columns, weights = _overlaps(fused.below, torch.where(backward, _cumulated(share), source.below))
    bound = ((rows + 1) * (columns + 1) * weights).sum(0) - fused.mean * mean
    deviations = source.deviation * fused.deviation
    defined = (product > 0) & (deviations > 0) & (bound > 0)
    mixed = (correlation.abs() * deviations / torch.where(defined, bound, 1)).where(defined, 0)
    rest = 1 - mixed
    total = source.entropy + fused.entropy
    independent = rest * fused.share.gather(0, rows) * share.gather(0, columns)
    log_rest = rest.abs().clamp_min(1e-300).log()
    log_independent = log_rest + fused.log.gather(0, rows) + log.gather(0, columns)
    joint = mixed * weights + independent
    log_joint = joint.abs().clamp_min(1e-300).log()
    # All cells as if independent, then those on the bound put right. Logarithms of magnitudes: mixed may exceed 1.
    entropy = rest * (total - log_rest) - (joint * log_joint - independent * log_independent).sum(0)
    shared = 2 * (total - entropy) / torch.where(total > 0, total, 1)
    same = (source.raw == fused.raw).all(0) | (source.flat & fused.flat)
    return shared.where(defined & (total > 0), 0).masked_fill(same, 1)


def feature_mutual_information(sources: Sequence[Tensor], fused: Tensor) -> Tensor:
    """Return the mean normalised mutual information of all 3×3 windows: N maps (B, H, W), (B, H, W) → (N, B).

    Maps with a side below 3 are one window of what they have, continued by their border.
    """
    maps = torch.stack([*sources, fused])
    down, right = (max(0, _SIDE - length) for length in maps.shape[2:])
    maps = F.pad(maps, (0, right, 0, down), mode="replicate")
    # Column by column, the order of the published code, which the bounds depend on.
    windows = maps.mT.unfold(2, _SIDE, 1).unfold(3, _SIDE, 1)
    count = windows.shape[2] * windows.shape[3]
    windows = windows.permute(0, 4, 5, 1, 2, 3).reshape(len(maps), _CELLS, -1)
    found = []
    for chunk in torch.split(windows, _CHUNK, dim=2):
        *ours, theirs = (_distributions(each) for each in chunk)
        found.append(torch.stack([_information(each, theirs) for each in ours]))
    return torch.cat(found, dim=1).view(len(sources), -1, count).mean(2)


class FeatureMutualInformation(SourceMetric):
    """Base of the feature mutual informations; subclasses say which ``feature``.

    Each 3×3 window of a feature map is taken for a distribution over its nine pixels. A window that equals the fused
    image's, and one that is flat as the fused image's is, has 1; one that is flat where the fused image's is not has 0.
    """

    direction = "higher"
    range = (-math.inf, 1.0)
    combine = "mean"
    reference = "Haghighat, Razian: Fast-FMI: non-reference image fusion metric. IEEE AICT, 2014"

    def feature(self, images: Tensor) -> Tensor:
        """Return the feature map: (B, 1, H, W) in [0, 1] → (B, H', W')."""
        raise NotImplementedError(f"{type(self).__name__} must define feature(images)")

    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        self.check(sources, fused)
        return feature_mutual_information([self.feature(source) for source in sources], self.feature(fused))

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return self.per_source([source], fused)[0]


class PixelFMI(FeatureMutualInformation):
    """Feature mutual information of the grey values themselves, the mean over the sources."""

    name = "fmi.pixel"
    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = (
        "fmi.edge, which code that leaves out the feature's name computes and often calls FMI_pixel. " + _PUBLISHED
    )

    def feature(self, images: Tensor) -> Tensor:
        return levels(images)


class GradientFMI(FeatureMutualInformation):
    """Feature mutual information of the horizontal derivative, the mean over the sources."""

    name = "fmi.gradient"
    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = "Of the gradient magnitude (MetricsLab): lower. " + _PUBLISHED

    def feature(self, images: Tensor) -> Tensor:
        return horizontal_gradient(images)


class CosineFMI(FeatureMutualInformation):
    """Feature mutual information of the whole image's discrete cosine transform, the mean over the sources."""

    name = "fmi.dct"
    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = "Of blockwise transforms."

    def feature(self, images: Tensor) -> Tensor:
        return cosine_coefficients(images)


class WaveletFMI(FeatureMutualInformation):
    """Feature mutual information of one level of the discrete Meyer wavelet transform, the mean over the sources."""

    name = "fmi.wavelet"
    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = "PyWavelets' dmey filter has 62 taps instead of 102: differs in the third digit."

    def feature(self, images: Tensor) -> Tensor:
        return wavelet_coefficients(images)


class EdgeFMI(FeatureMutualInformation):
    """Feature mutual information of binary Sobel edge maps, the mean over the sources: the published code's default.

    Most windows hold no edge in either image and have 1, so that values lie high and close together.
    """

    name = "fmi.edge"
    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = (
        "Edge detectors differ in threshold and thinning (here as in Octave's edge): by some hundredths. Tables often "
        "print it as FMI or FMI_pixel."
    )

    def feature(self, images: Tensor) -> Tensor:
        return sobel_edges(images)
