"""Resampling onto another grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.errors import size_text
from fusekit.images.grid import Grid
from fusekit.images.image import Image, from_pixels, full_scale


def resize_to(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resample (B, C, H, W) to ``size`` bilinearly, with antialiasing where it shrinks.

    Pixel centres are aligned at half pixels, as image editors do; values stay within the source's range.
    """
    if tuple(image.shape[2:]) == tuple(size):
        return image
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)


def resampled(image: Image, grid: Grid) -> Image:
    """Return a picture resampled to the size of ``grid`` as `resize_to` does, in its own depth, with a note."""
    pixels = image.pixels.astype(np.float32)
    tensor = torch.from_numpy(pixels if image.color else pixels[:, :, None]).permute(2, 0, 1)[None]
    resized = resize_to(tensor, grid.shape)[0].permute(1, 2, 0).numpy()
    if image.depth != "float32":
        resized = np.clip(np.rint(resized), 0, full_scale(image.depth)).astype(image.depth)
    notes = (*image.notes, f"resampled from {size_text(image.size)}")
    resized = resized if image.color else resized[:, :, 0]
    return from_pixels(resized, color=image.color, grid=grid, origin=image.origin, notes=notes)
