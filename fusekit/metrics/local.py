"""Local statistics under separable windows, which several metrics share."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian(side: int, sigma: float) -> list[float]:
    """Return the ``side`` weights of a Gaussian of standard deviation ``sigma`` pixels that sum to 1."""
    offsets = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    found: list[float] = (weights / weights.sum()).tolist()
    return found


def uniform(side: int) -> list[float]:
    """Return ``side`` equal weights that sum to 1."""
    return [1 / side] * side


def fitting_side(side: int, height: int, width: int) -> int:
    """Return the odd ``side``, or the largest odd side of a window that fits into height × width pixels."""
    side = min(side, height, width)
    return side - 1 + side % 2


def windowed(images: Tensor, weights: list[float]) -> Tensor:
    """Sum under the separable window ``weights`` ⊗ ``weights``, within the image only: (…, H, W) → (…, H−s+1, W−s+1).

    Adding shifted copies is several times as fast as a convolution of doubles on a CPU.
    """
    for axis in (-1, -2):
        length = images.shape[axis] - len(weights) + 1
        total = images.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], 1):
            total.add_(images.narrow(axis, start, length), alpha=weight)
        images = total
    return images


def moments(x: Tensor, y: Tensor, weights: list[float]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the local means of x and y, their population variances and their covariance: two (…, H, W) → five maps.

    Variances are at least 0, also where rounding would leave less.
    """
    mean_x, mean_y, square_x, square_y, product = windowed(torch.stack([x, y, x * x, y * y, x * y]), weights).unbind(0)
    variance_x = (square_x - mean_x.square()).clamp_min(0)
    variance_y = (square_y - mean_y.square()).clamp_min(0)
    return mean_x, mean_y, variance_x, variance_y, product - mean_x * mean_y
