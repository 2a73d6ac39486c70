"""``fmi.*``: feature mutual information with the sources (Haghighat and Razian, 2014), for five features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import TogetherMetric
from fusekit.metrics.fmi_features import cosine_coefficients, horizontal_gradient, sobel_edges, wavelet_coefficients
from fusekit.metrics.levels import levels

_SIDE = 3
_CELLS = _SIDE**2
# Windows at once: what fits into a processor's cache; other devices take more.
_CHUNK = 8192
_PUBLISHED = (
    "The published code meets the second source with a window that it has normalised for the first one, and gives 0 "
    "for 1 where both equal it and one pixel alone differs: lower by up to 0.02 on images with flat regions."
)


@dataclass
class _Windows:
    """Windows of a feature map as distributions over their nine pixels, column by column; all are (9, n) or (n,).

    Attributes:
        share: the features stretched to 0…1 and divided by their sum.
        spread: Σ (share − 1/9)².
        mean: Σ k·share, k = 1…9.
        deviation: √(Σ k²·share − mean²).
        entropy: −Σ share·log share, in nats.
    """

    share: Tensor
    spread: Tensor
    mean: Tensor
    deviation: Tensor
    entropy: Tensor


def _distributions(raw: Tensor) -> _Windows:
    """Describe windows (9, n), none of them flat."""
    least, most = raw.aminmax(dim=0)
    share = (raw - least).div_(most - least)
    share /= share.sum(0)
    ranks = torch.arange(1, _CELLS + 1, dtype=raw.dtype, device=raw.device)
    mean = ranks @ share
    variance = ranks.square() @ share - mean.square()
    return _Windows(
        share=share,
        spread=share.square().sum(0) - 1 / _CELLS,
        mean=mean,
        # A single pixel with all the weight leaves rounding only.
        deviation=variance.where(variance > 1e-13, 0).sqrt(),
        entropy=-_weighted_log(share).sum(0),
    )


def _weighted_log(shares: Tensor) -> Tensor:
    """Return x·log |x|, 0 at 0; negative "shares" occur where a correlation exceeds the bound's."""
    return shares.abs().add_(torch.finfo(shares.dtype).tiny).log_().mul_(shares)


def _overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Walk the coupling of two distributions that keeps their order (Fréchet's upper bound).

    Args:
        first: shares, (9, n).
        second: likewise.

    Returns:
        for at most 17 cells of the joint distribution: the rows and the columns, (17, n), and the weights there.
    """
    ends = [share.cumsum(0).clamp_max_(1) for share in (first, second)]
    for end in ends:
        end[-1] = 1
    row = torch.zeros_like(first[:1], dtype=torch.int64)
    column = torch.zeros_like(row)
    start = torch.zeros_like(first[:1])
    rows, columns, weights = [], [], []
    for _ in range(2 * _CELLS - 1):
        rows.append(row)
        columns.append(column)
        end_row, end_column = ends[0].gather(0, row), ends[1].gather(0, column)
        end = torch.minimum(end_row, end_column)
        weights.append(end - start)
        start = end
        row = (row + (end_row == end)).clamp_max_(_CELLS - 1)
        column = (column + (end_column == end)).clamp_max_(_CELLS - 1)
    return torch.cat(rows), torch.cat(columns), torch.cat(weights)


def _information(source: _Windows, fused: _Windows) -> Tensor:
    """Return 2·I / (H + H) of each window, of a joint distribution with the windows' correlation: (n,).

    The joint distribution mixes Fréchet's bound, the upper one for a positive and the lower one for a negative
    correlation, with the independent one, so that its ranks correlate as the windows do. The lower bound is the upper
    one with one side's pixels in reverse order.
    """
    overlap = (source.share * fused.share).sum(0) - 1 / _CELLS
    correlation = overlap / (source.spread * fused.spread).sqrt()
    backward = correlation < 0
    share = torch.where(backward, source.share.flip(0), source.share)
    mean = torch.where(backward, _CELLS + 1 - source.mean, source.mean)
    rows, columns, weights = _overlaps(fused.share, share)
    products = (rows + 1).mul_(columns + 1).to(weights)
    bound = products.mul_(weights).sum(0) - fused.mean * mean
    deviations = source.deviation * fused.deviation
    defined = (deviations > 0) & (bound > 0)
    mixed = (correlation.abs() * deviations / torch.where(defined, bound, 1)).where(defined, 0)
    rest = 1 - mixed
    independent = fused.share.gather(0, rows).mul_(share.gather(0, columns)).mul_(rest)
    joint = weights.mul_(mixed).add_(independent)
    # All cells as if independent, then those on the bound put right.
    on_bound = (_weighted_log(joint) - _weighted_log(independent)).sum(0)
    total = source.entropy + fused.entropy
    entropy = rest * total - _weighted_log(rest) - on_bound
    return (2 * (total - entropy) / total).where(defined, 0)


def feature_mutual_information(sources: Sequence[Tensor], fused: Tensor) -> Tensor:
    """Return the mean normalised mutual information of all 3×3 windows: N maps (B, H, W), (B, H, W) → (N, B).

    Maps with a side below 3 are continued by their border to one window.
    """
    maps = torch.stack([*sources, fused])
    down, right = (max(0, _SIDE - length) for length in maps.shape[2:])
    maps = F.pad(maps, (0, right, 0, down), mode="replicate")
    # Column by column, the order of the published code, which the bounds depend on.
    windows = maps.mT.unfold(2, _SIDE, 1).unfold(3, _SIDE, 1)
    count = windows.shape[2] * windows.shape[3]
    windows = windows.permute(0, 4, 5, 1, 2, 3).reshape(len(maps), _CELLS, -1)
    least, most = windows.aminmax(dim=1)
    flat = least == most
    size = _CHUNK if windows.device.type == "cpu" else 32 * _CHUNK
    values = []
    for number in range(len(sources)):
        value = ((windows[number] == windows[-1]).all(0) | (flat[number] & flat[-1])).to(windows)
        textured = ~(flat[number] | flat[-1] | (value > 0))
        for chunk in torch.split(textured.nonzero()[:, 0], size):
            ours, theirs = (_distributions(windows[place][:, chunk]) for place in (number, -1))
            value[chunk] = _information(ours, theirs)
        values.append(value.view(-1, count).mean(1))
    return torch.stack(values)


class FeatureMutualInformation(TogetherMetric):
    """Base of the mutual information of features; subclasses say which ``feature``.

    Each 3×3 window of a feature map is taken for a distribution over its nine pixels. A window that equals the fused
    image's, and one that is flat as the fused image's is, has 1; one that is flat where the fused image's is not has 0.
    """

    range = (-math.inf, 1.0)
    combine = "mean"

    def feature(self, images: Tensor) -> Tensor:
        """Return the feature map: (B, 1, H, W) in [0, 1] → (B, H', W')."""
        raise NotImplementedError(f"{type(self).__name__} must define feature(images)")

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return feature_mutual_information([self.feature(source) for source in sources], self.feature(fused))


class PixelFMI(FeatureMutualInformation):
    """Feature mutual information of the grey values themselves, the mean over the sources."""

    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = (
        "fmi.edge, which code that leaves out the feature's name computes and often calls FMI_pixel. " + _PUBLISHED
    )

    def feature(self, images: Tensor) -> Tensor:
        return levels(images)


class GradientFMI(FeatureMutualInformation):
    """Feature mutual information of the horizontal derivative, the mean over the sources."""

    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = "Of the gradient magnitude (MetricsLab): lower. " + _PUBLISHED

    def feature(self, images: Tensor) -> Tensor:
        return horizontal_gradient(images)


class CosineFMI(FeatureMutualInformation):
    """Feature mutual information of the whole image's discrete cosine transform, the mean over the sources."""

    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = "Of blockwise transforms."

    def feature(self, images: Tensor) -> Tensor:
        return cosine_coefficients(images)


class WaveletFMI(FeatureMutualInformation):
    """Feature mutual information of one level of the discrete Meyer wavelet transform, the mean over the sources."""

    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = "PyWavelets' dmey filter has 62 taps instead of 102: differs in the third digit."

    def feature(self, images: Tensor) -> Tensor:
        return wavelet_coefficients(images)


class EdgeFMI(FeatureMutualInformation):
    """Feature mutual information of binary Sobel edge maps, the mean over the sources: the published code's default.

    Most windows hold no edge in either image and have 1, so that values lie high and close together.
    """

    data_range = "grey levels 0-255, not rounded; the scale cancels"
    look_alikes = (
        "Edge detectors differ in threshold and thinning (here as in Octave's edge): by some hundredths. Tables often "
        "print it as FMI or FMI_pixel."
    )

    def feature(self, images: Tensor) -> Tensor:
        return sobel_edges(images)
