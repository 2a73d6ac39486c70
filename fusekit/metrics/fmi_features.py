"""The feature maps that feature mutual information compares: gradients, edges, cosine and wavelet coefficients."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.levels import levels

_TAPS = 102


def horizontal_gradient(images: Tensor) -> Tensor:
    """Return ∂x by central differences, one-sided at the border, of grey levels: (B, 1, H, W) → (B, H, W)."""
    found: Tensor = torch.gradient(levels(images), dim=2)[0]
    return found


def sobel_edges(images: Tensor) -> Tensor:
    """Return the binary Sobel edge map, as 0 and 1: (B, 1, H, W) → (B, H, W).

    An edge is where the squared gradient exceeds four times its mean and both neighbours in its row or its column. The
    image is continued by its border pixels.
    """
    around = F.pad(levels(images)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    along_x, along_y = around[..., 2:] - around[..., :-2], around[..., 2:, :] - around[..., :-2, :]
    along_x = along_x[:, :-2] + 2 * along_x[:, 1:-1] + along_x[:, 2:]
    along_y = along_y[..., :-2] + 2 * along_y[..., 1:-1] + along_y[..., 2:]
    strength = along_x.square() + along_y.square()
    beside = F.pad(strength, (1, 1, 1, 1))
    in_row = (strength > beside[:, 1:-1, :-2]) & (strength > beside[:, 1:-1, 2:])
    in_column = (strength > beside[:, :-2, 1:-1]) & (strength > beside[:, 2:, 1:-1])
    strong = strength > 4 * strength.mean((1, 2), keepdim=True)
    return (strong & (in_row | in_column)).to(strength)


def cosine_coefficients(images: Tensor) -> Tensor:
    """Return the orthonormal discrete cosine transform (type II) of the whole image: (B, 1, H, W) → (B, H, W)."""
    grey = levels(images)
    height, width = grey.shape[1:]
    coefficients = _cosines(height).to(grey) @ grey @ _cosines(width).to(grey).T
    # Above the error of the transform, so that what vanishes is 0.
    return (coefficients * 2**30).round() / 2**30


def wavelet_coefficients(images: Tensor) -> Tensor:
    """Return one level of the discrete Meyer wavelet transform: (B, 1, H, W) → (B, H', W'), H' = 2·⌊(H + 101) / 2⌋.

    Low-pass at the top left; at its right what is high-pass down the columns, below it what is high-pass along the
    rows, as in the code that published values come from. The image is continued by reflection, border pixels doubled.
    """
    grey = levels(images)
    least = grey.amin((1, 2), keepdim=True)
    height, width = grey.shape[1:]
    down, right = _analysis(height).to(grey), _analysis(width).to(grey)
    # The least grey value goes its own way, so that of a constant image no rounding is left. What is left of others far
    # from all detail, down to 1e-12, counts: windows are stretched.
    gains = torch.stack([taps.sum() for taps in _filters()]).to(grey)
    constant = (gains[:, None] * gains).repeat_interleave(len(down) // 2, 0).repeat_interleave(len(right) // 2, 1)
    found = down @ (grey - least) @ right.T + least * constant
    (low, along_rows), (along_columns, both) = (half.chunk(2, 2) for half in found.chunk(2, 1))
    return torch.cat([torch.cat([low, along_columns], 2), torch.cat([along_rows, both], 2)], 1)


@lru_cache(maxsize=8)
def _cosines(length: int) -> Tensor:
    steps = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos(math.pi / length * steps[:, None] * (steps + 0.5)) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix


@lru_cache(maxsize=1)
def _meyer_filter() -> Tensor:
    """Return the 102 taps of the low-pass filter: Meyer's, sampled, cut to 101 taps and a zero, with the sum √2."""
    count = 2**14
    frequency = (2 * math.pi * torch.fft.fftfreq(count, dtype=torch.float64)).abs()
    ramp = (3 * frequency / math.pi - 1).clamp(0, 1)
    smooth = ramp**4 * (35 - 84 * ramp + 70 * ramp**2 - 20 * ramp**3)
    taps = torch.fft.ifft(torch.cos(math.pi / 2 * smooth)).real
    half = _TAPS // 2 - 1
    taps = torch.cat([taps[-half:], taps[: half + 1], taps.new_zeros(1)])
    return taps * (math.sqrt(2) / taps.sum())


def _filters() -> tuple[Tensor, Tensor]:
    """Return the low-pass and the high-pass filter."""
    low = _meyer_filter()
    return low, low.flip(0) * (1 - 2 * (torch.arange(_TAPS) % 2))


@lru_cache(maxsize=8)
def _analysis(length: int) -> Tensor:
    """Return the matrix that filters ``length`` pixels and keeps every second value, low-pass above high-pass."""
    count = (length + _TAPS - 1) // 2
    places = 2 * torch.arange(count)[:, None] + 1 + torch.arange(_TAPS) - (_TAPS - 1)
    places = places % (2 * length)
    places = torch.where(places < length, places, 2 * length - 1 - places)
    halves = [
        torch.zeros(count, length, dtype=torch.float64).scatter_add_(1, places, taps.expand(count, -1).contiguous())
        for taps in _filters()
    ]
    return torch.cat(halves)
