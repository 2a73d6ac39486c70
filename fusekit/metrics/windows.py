"""Separable windows, with stated borders, and local statistics under them, which several metrics share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows of an image that are filtered at once, where it is larger than a square of them.
_BAND_ROWS = 128


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


def window_within(planes: Tensor, side: int, sigma: float) -> list[float]:
    """Return the Gaussian window of an odd ``side``, or of the largest odd side that fits into (…, H, W)."""
    return gaussian(fitting_side(side, *planes.shape[-2:]), sigma)


def pad(planes: Tensor, sides: tuple[int, int, int, int], border: str) -> Tensor:
    """Pad (…, H, W) by left, right, top, bottom; ``border`` is ``"zero"``, ``"replicate"`` or ``"reflect"``."""
    if border == "zero":
        return F.pad(planes, sides)
    padded = F.pad(planes.flatten(0, -3)[None], sides, mode=border)
    return padded.view(*planes.shape[:-2], *padded.shape[-2:])


def windowed(planes: Tensor, weights: Sequence[float], border: str | None = None) -> Tensor:
    """Sum under the separable window ``weights`` ⊗ ``weights`` of (…, H, W).

    Args:
        planes: the images.
        weights: the window's weights along either axis.
        border: what lies outside, as for `pad`, the window then being odd; ``None`` keeps to the places where the
            window lies within.

    Returns:
        (…, H, W) with a border, else (…, H−s+1, W−s+1) for s weights.
    """
    if border is not None:
        planes = pad(planes, (len(weights) // 2,) * 4, border)
    height, width = (length - len(weights) + 1 for length in planes.shape[-2:])
    if planes.device.type != "cpu" or height * width <= _BAND_ROWS * _BAND_ROWS:
        return _summed(planes, weights)
    # What is added stays in the processor's cache if it is a band of one plane: twice as fast.
    found = planes.new_empty(*planes.shape[:-2], height, width)
    for plane, target in zip(planes.flatten(0, -3), found.flatten(0, -3), strict=True):
        for top in range(0, height, _BAND_ROWS):
            target[top : top + _BAND_ROWS] = _summed(plane[top : top + _BAND_ROWS + len(weights) - 1], weights)
    return found


def _summed(planes: Tensor, weights: Sequence[float]) -> Tensor:
    """Add shifted copies, which is several times as fast as a convolution of doubles on a CPU."""
    for axis in (-2, -1):
        length = planes.shape[axis] - len(weights) + 1
        total = planes.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], 1):
            total.add_(planes.narrow(axis, start, length), alpha=weight)
        planes = total
    return planes


def moments(x: Tensor, y: Tensor, weights: list[float]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the local means of x and y, their population variances and their covariance: two (…, H, W) → five maps.

    Variances are at least 0, also where rounding would leave less.
    """
    mean_x, mean_y, square_x, square_y, product = windowed(torch.stack([x, y, x * x, y * y, x * y]), weights).unbind(0)
    variance_x = (square_x - mean_x.square()).clamp_min(0)
    variance_y = (square_y - mean_y.square()).clamp_min(0)
    return mean_x, mean_y, variance_x, variance_y, product - mean_x * mean_y
