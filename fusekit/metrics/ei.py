"""``ei``: edge intensity of the fused image (as in Rajalingam and Priya, 2018)."""

from __future__ import annotations

import math

from torch import Tensor

from fusekit.metrics.base import FusedMetric
from fusekit.metrics.filters import derivatives, pixel_mean
from fusekit.metrics.levels import levels


def edge_intensity(fused: Tensor) -> Tensor:
    """Return the mean Sobel gradient magnitude √(∂x² + ∂y²) in grey levels: (B, 1, H, W) in [0, 1] → (B,).

    The operator is not normalised: a ramp of one level a pixel has 8. The border is replicated.
    """
    along_x, along_y = derivatives(levels(fused), 2, "replicate")
    return pixel_mean((along_x.square() + along_y.square()).sqrt())


class EdgeIntensity(FusedMetric):
    """Edge intensity: the mean Sobel gradient magnitude, on the scale 0-255. A constant image has 0."""

    range = (0.0, 1020 * math.sqrt(2))
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "With a zero border: higher, by the frame of a bright image. Sobel divided by 8: an eighth."

    def measure(self, fused: Tensor) -> Tensor:
        return edge_intensity(fused)
