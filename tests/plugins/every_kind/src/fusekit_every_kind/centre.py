"""An aligner."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusekit.extend import Aligner, Image, from_pixels


class Centre(Aligner):
    """Crops an image about its centre, or pads it with zeros, to the fixed one's grid."""

    def align(self, moving: Image, fixed: Image) -> tuple[Image, dict[str, Any] | None]:
        if moving.grid == fixed.grid:
            return moving, None
        offset = [(has - wanted) // 2 for has, wanted in zip(moving.size, fixed.size, strict=True)]
        channels = [3] if moving.color else []
        pixels = np.zeros((*fixed.size, *channels), moving.pixels.dtype)
        taken, put = [], []
        for start, has, wanted in zip(offset, moving.size, fixed.size, strict=True):
            common = min(has, wanted)
            taken.append(slice(max(start, 0), max(start, 0) + common))
            put.append(slice(max(-start, 0), max(-start, 0) + common))
        pixels[tuple(put)] = moving.pixels[tuple(taken)]
        placed = from_pixels(pixels, color=moving.color, grid=fixed.grid, origin=moving.origin, notes=moving.notes)
        return placed, {"offset": offset}
