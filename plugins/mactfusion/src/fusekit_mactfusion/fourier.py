"""Convolutions of large kernels by the Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor


def fourier_convolution(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    """Return what ``conv2d(x, weight, padding=k // 2, groups=groups)`` returns: about a hundred times as fast on a CPU.

    Args:
        x: (B, C, H, W); it is transformed in float32 or float64.
        weight: (C', C / groups, k, k) with an odd k. Its frequencies take less time than those of a map of an image.
        groups: of channels.

    Returns:
        (B, C', H, W) in the dtype of ``x``.
    """
    height, width, half = x.shape[2], x.shape[3], weight.shape[-1] // 2
    dtype = torch.promote_types(x.dtype, torch.float32)
    # What goes round one border must not come into the image at the other.
    size = [max(smooth(side + half), weight.shape[-1]) for side in (height, width)]
    spectrum = torch.fft.rfft2(x.to(dtype), size).unflatten(1, (groups, 1, -1))
    kernel = torch.fft.rfft2(weight.to(dtype), size).conj().unflatten(0, (groups, -1))
    found = torch.fft.irfft2((spectrum * kernel).sum(3).flatten(1, 2), size).roll((half, half), (2, 3))
    return found[:, :, :height, :width].to(x.dtype)


def smooth(least: int) -> int:
    """Return the least number from ``least`` on without prime factors above 5, which transforms are fast for."""
    number = least
    while True:
        rest = number
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return number
        number += 1
