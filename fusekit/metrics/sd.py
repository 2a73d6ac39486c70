"""``sd``: standard deviation of the fused image."""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit.metrics.base import FusedMetric
from fusekit.metrics.levels import precise, sum_of_bands


def standard_deviation(fused: Tensor) -> Tensor:
    """Return the population standard deviation in grey levels of 0-255: (B, 1, H, W) in [0, 1] → (B,)."""
    # From the first pixel on: of a constant image nothing is left, not even rounding.
    first, count = precise(fused[:, :, :1, :1]), fused[0].numel()

    def measure(band: Tensor) -> Tensor:
        rest = precise(band) - first
        return torch.stack([rest.sum((1, 2, 3)), rest.square_().sum((1, 2, 3))])

    total, power = sum_of_bands(measure, fused) / count
    return 255 * (power - total.square()).clamp_min(0).sqrt()


class StandardDeviation(FusedMetric):
    """Population standard deviation of the grey values, on the scale 0-255. A constant image has 0."""

    range = (0.0, 127.5)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "With H·W − 1 for H·W (sample deviation): higher by 1/(2·H·W) of the value. On [0, 1]: 1/255 of it."

    def measure(self, fused: Tensor) -> Tensor:
        return standard_deviation(fused)
