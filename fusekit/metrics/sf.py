"""``sf``: spatial frequency of the fused image (Eskicioglu and Fisher, 1995), and its variant ``sf.diff``."""

from __future__ import annotations

import math

from torch import Tensor

from fusekit.metrics.base import FusedMetric
from fusekit.metrics.levels import precise, sum_of_bands


def spatial_frequency(fused: Tensor) -> Tensor:
    """Return √(RF² + CF²) in grey levels of 0-255: (B, 1, H, W) in [0, 1] → (B,).

    RF² and CF² are the sums of the squared differences between neighbours in a row and in a column, each divided by
    the number of pixels H·W.
    """
    along_rows, along_columns = squared_differences(fused)
    return 255 * ((along_rows + along_columns) / fused[0].numel()).sqrt()


def difference_frequency(fused: Tensor) -> Tensor:
    """Return √(RF² + CF²) in grey levels, RF² and CF² being means over the differences: (B, 1, H, W) → (B,)."""
    along_rows, along_columns = squared_differences(fused)
    height, width = fused.shape[2:]
    return 255 * (along_rows / (height * (width - 1)) + along_columns / ((height - 1) * width)).sqrt()


def squared_differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ of the squared differences between neighbours in a row, and in a column: (B, 1, H, W) → two (B,)."""

    def of_axis(axis: int) -> Tensor:
        return sum_of_bands(
            lambda band: precise(band.diff(dim=axis).square_().sum((1, 2, 3))), image, halo=1 if axis == 2 else 0
        )

    return of_axis(3), of_axis(2)


class SpatialFrequency(FusedMetric):
    """Spatial frequency: how much neighbouring grey values differ, on the scale 0-255. A constant image has 0."""

    range = (0.0, 255 * math.sqrt(2))
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "Divided by the number of differences, H·(W − 1) and (H − 1)·W, instead of H·W (sf.diff): higher, by 0.2 % at "
        "256×256. With diagonal differences added (Zheng et al., 2007): higher."
    )

    def measure(self, fused: Tensor) -> Tensor:
        return spatial_frequency(fused)


class DifferenceFrequency(SpatialFrequency):
    """``sf`` divided by the numbers of differences, H·(W − 1) and (H − 1)·W, as many toolboxes do."""

    look_alikes = "sf divides by the number of pixels, H·W: lower, by 0.2 % at 256×256."

    def measure(self, fused: Tensor) -> Tensor:
        return difference_frequency(fused)
