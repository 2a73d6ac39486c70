"""``en``: Shannon entropy of the fused image (Roberts et al., 2008), of grey levels or of the float values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fusekit.metrics.base import FusedMetric
from fusekit.metrics.levels import entropy_of_counts, histogram, level_histogram, precise


def entropy(fused: Tensor) -> Tensor:
    """Return the entropy in bits of the 256 grey levels of images in [0, 1]: (B, 1, H, W) → (B,)."""
    return entropy_of_counts(level_histogram(fused))


def entropy_of_values(fused: Tensor) -> Tensor:
    """Return the entropy in bits of the distinct values themselves, without bins: (B, 1, H, W) → (B,)."""
    ordered = precise(fused).flatten(1).sort(1).values
    runs = torch.zeros_like(ordered, dtype=torch.int64)
    runs[:, 1:] = (ordered.diff(dim=1) > 0).cumsum(1)
    return entropy_of_counts(histogram(runs, ordered.shape[1]))


class Entropy(FusedMetric):
    """Shannon entropy of the 256-bin histogram, in bits. A constant image has 0.

    Values between two grey levels are rounded to the nearest.
    """

    range = (0.0, 8.0)
    data_range = "grey levels 0-255, rounded"
    look_alikes = (
        "en.float: over the distinct float values instead of 256 bins, may exceed 8 bits. In nats: ln 2 times this "
        "value."
    )

    def measure(self, fused: Tensor) -> Tensor:
        return entropy(fused)


class FloatEntropy(FusedMetric):
    """Shannon entropy over the distinct float values, without bins, in bits. A constant image has 0.

    The EH-DRAN paper's EN. It is bounded by log₂(H·W) alone, and tells how many distinct values a network's floats
    hold as much as what they show: compare it only between results of the same precision. On 8-bit images it is ``en``.
    """

    range = (0.0, math.inf)
    data_range = "the values as given"
    look_alikes = "en: over 256 bins, at most 8 bits and usually about half of this value."

    def measure(self, fused: Tensor) -> Tensor:
        return entropy_of_values(fused)
