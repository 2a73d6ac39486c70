"""``mse`` and ``rmse``: mean squared error against the sources, and its root (as in Jagalingam and Hegde, 2015)."""

from __future__ import annotations

from torch import Tensor

from fusekit.metrics.base import SourceMetric, precise


def mean_squared_error(source: Tensor, fused: Tensor) -> Tensor:
    """Return the mean of (S − F)² of images in [0, 1]: two (B, 1, H, W) → (B,)."""
    return (precise(source) - precise(fused)).square().mean((1, 2, 3))


class MSE(SourceMetric):
    """Mean squared error of the fused image against each source, on [0, 1], the mean over the sources."""

    name = "mse"
    direction = "lower"
    range = (0.0, 1.0)
    data_range = "[0, 1]"
    combine = "mean"
    reference = "Jagalingam, Hegde: A Review of Quality Metrics for Fused Image. Aquatic Procedia 4, 2015"
    look_alikes = "mse.255: on grey levels 0-255, 65025 times this value."

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return mean_squared_error(source, fused)


class MSE255(MSE):
    """``mse`` on grey levels 0-255: 65025 times the value."""

    name = "mse.255"
    range = (0.0, 255.0**2)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "mse: on [0, 1], 1/65025 of this value."

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return mean_squared_error(source, fused) * 255**2


class RMSE(MSE):
    """Root of the mean squared error of the fused image against each source, on [0, 1]; the mean of these roots."""

    name = "rmse"
    look_alikes = (
        "VIFB takes √SSE / (H·W) on grey levels 0-255, which shrinks with the image's size. The root of the mean of "
        "the sources' squared errors: at least this value. On grey levels 0-255: 255 times it."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return mean_squared_error(source, fused).sqrt()
