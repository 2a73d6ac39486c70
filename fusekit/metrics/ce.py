"""``ce``: cross entropy between the histograms of a source and the fused image (Bulanon et al., 2009)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fusekit.metrics.base import SourceMetric
from fusekit.metrics.levels import level_histogram, precise


def cross_entropy(source: Tensor, fused: Tensor) -> Tensor:
    """Return Σ p_S·log₂(p_S / p_F) over the grey levels that both images have: two (B, 1, H, W) in [0, 1] → (B,)."""
    ours = precise(level_histogram(source)) / source[0].numel()
    theirs = precise(level_histogram(fused)) / fused[0].numel()
    both = (ours > 0) & (theirs > 0)
    ratio = torch.where(both, ours, 1) / torch.where(both, theirs, 1)
    return (ours * ratio.log2()).sum(1)


class CrossEntropy(SourceMetric):
    """Cross entropy (a Kullback-Leibler divergence) from the fused image's 256-bin histogram to each source's, in bits.

    Levels that one of the two images lacks are left out. So the value may be slightly negative, and images that have
    no level in common get 0, as equal ones do: the metric tells little where histograms hardly overlap.
    """

    range = (-1 / (math.e * math.log(2)), math.inf)
    data_range = "grey levels 0-255, rounded"
    combine = "mean"
    look_alikes = (
        "The root of the mean square of the two sources' values; the sum of the two: twice this value. With an epsilon "
        "in place of empty levels: higher, by as much as the epsilon is small."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return cross_entropy(source, fused)
