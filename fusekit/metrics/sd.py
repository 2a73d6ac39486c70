"""``sd``: standard deviation of the fused image."""

from __future__ import annotations

from torch import Tensor

from fusekit.metrics.base import FusedMetric, precise


def standard_deviation(fused: Tensor) -> Tensor:
    """Return the population standard deviation in grey levels of 0-255: (B, 1, H, W) in [0, 1] → (B,)."""
    return (precise(fused) * 255).flatten(1).std(1, correction=0)


class StandardDeviation(FusedMetric):
    """Population standard deviation of the grey values, on the scale 0-255. A constant image has 0."""

    name = "sd"
    direction = "higher"
    range = (0.0, 127.5)
    data_range = "grey levels 0-255, not rounded"
    reference = (
        "elementary statistics; fusion papers cite Rao: In-fibre Bragg grating sensors. Measurement Science and "
        "Technology 8(4), 1997, which does not define it for images"
    )
    look_alikes = "With H·W − 1 for H·W (sample deviation): higher by 1/(2·H·W) of the value. On [0, 1]: 1/255 of it."

    def measure(self, fused: Tensor) -> Tensor:
        return standard_deviation(fused)
