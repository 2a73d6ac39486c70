"""``mse`` and ``rmse``: mean squared error against the sources, and its root (as in Jagalingam and Hegde, 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import TogetherMetric
from fusekit.metrics.levels import precise, sum_of_bands


def mean_squared_error(source: Tensor, fused: Tensor) -> Tensor:
    """Return the mean of (S − F)² of images in [0, 1]: two (B, 1, H, W) → (B,)."""
    return mean_squared_errors([source], fused)[0]


def mean_squared_errors(sources: Sequence[Tensor], fused: Tensor) -> Tensor:
    """Return the mean of (S − F)² of N sources in [0, 1], (B, 1, H, W) each → (N, B).

    Differences are taken in the images' own precision.
    """
    return squared_errors(sources, fused) / fused[0].numel()


def squared_errors(sources: Sequence[Tensor], fused: Tensor) -> Tensor:
    """Return the sum of (S − F)² of each of N sources: (N, B)."""

    def measure(*band: Tensor) -> Tensor:
        return torch.stack([precise((source - band[-1]).square_().sum((1, 2, 3))) for source in band[:-1]])

    return sum_of_bands(measure, *sources, fused)


class MSE(TogetherMetric):
    """Mean squared error of the fused image against each source, on [0, 1], the mean over the sources."""

    range = (0.0, 1.0)
    data_range = "[0, 1]"
    combine = "mean"
    look_alikes = "mse.255: on grey levels 0-255, 65025 times this value."

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return mean_squared_errors(sources, fused)


class MSE255(MSE):
    """``mse`` on grey levels 0-255: 65025 times the value."""

    range = (0.0, 255.0**2)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "mse: on [0, 1], 1/65025 of this value."

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return mean_squared_errors(sources, fused) * 255**2


class RMSE(MSE):
    """Root of the mean squared error of the fused image against each source, on [0, 1]; the mean of these roots."""

    look_alikes = (
        "VIFB takes √SSE / (H·W) on grey levels 0-255, which shrinks with the image's size. The root of the mean of "
        "the sources' squared errors: at least this value. On grey levels 0-255: 255 times it."
    )

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return mean_squared_errors(sources, fused).sqrt()
