"""``ag``: average gradient of the fused image (Cui et al., 2015), and its variant ``ag.mn``."""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit.metrics.base import FusedMetric
from fusekit.metrics.levels import precise, sum_of_bands


def average_gradient(fused: Tensor) -> Tensor:
    """Return Σ √((∂x² + ∂y²) / 2) / ((H − 1)·(W − 1)) in grey levels of 0-255: (B, 1, H, W) in [0, 1] → (B,).

    The derivatives are central differences, one-sided at the border, and the sum runs over all H·W pixels, as in the
    implementations that published values come from.
    """
    image = precise(fused)
    total = _slopes(image[:, :, :1], image[:, :, 1:2] - image[:, :, :1])
    total = total + _slopes(image[:, :, -1:], image[:, :, -1:] - image[:, :, -2:-1])
    height, width = image.shape[2:]
    if height > 2:
        total = total + sum_of_bands(
            lambda band: _slopes(band[:, :, 1:-1], (band[:, :, 2:] - band[:, :, :-2]).div_(2)), image, halo=2
        )
    return 255 * total / ((height - 1) * (width - 1))


def _slopes(rows: Tensor, along_y: Tensor) -> Tensor:
    """Add up √((∂x² + ∂y²) / 2): rows (B, 1, H, W) and their ∂y → (B,)."""
    along_x: Tensor = torch.gradient(rows, dim=3)[0]
    return along_x.square_().add_(along_y.square_()).div_(2).sqrt_().sum((1, 2, 3))


class AverageGradient(FusedMetric):
    """Average gradient: the mean slope of the grey values, on the scale 0-255. A constant image has 0.

    The upper end of the range, 4 · 255, belongs to 2×2 pixels; large images stay far below.
    """

    range = (0.0, 1020.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "Divided by H·W instead of (H − 1)·(W − 1) (ag.mn): lower, by 0.8 % at 256×256. With forward differences: "
        "higher on noisy images."
    )

    def measure(self, fused: Tensor) -> Tensor:
        return average_gradient(fused)


class AverageGradientPerPixel(AverageGradient):
    """``ag`` divided by the number of pixels, H·W: a true mean."""

    range = (0.0, 255.0)
    look_alikes = "ag divides by (H − 1)·(W − 1): higher, by 0.8 % at 256×256."

    def measure(self, fused: Tensor) -> Tensor:
        height, width = fused.shape[2:]
        return average_gradient(fused) * ((height - 1) * (width - 1) / (height * width))
