"""Pictures of several images side by side, for looking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusekit.images.files import read_image
from fusekit.images.image import Array, Image, from_pixels, full_scale


def side_by_side(paths: Sequence[Path], gap: int = 4) -> Image:
    """Return images of one size in a row, as 8-bit RGB (H, W') with white gaps of ``gap`` pixels."""
    columns: list[Array] = []
    for path in paths:
        image = read_image(path)
        pixels = np.rint(image.pixels / full_scale(image.depth) * 255).astype(np.uint8)
        columns += [np.full((image.size[0], gap, 3), 255, np.uint8)] if columns else []
        columns.append(pixels if image.color else np.repeat(pixels[:, :, None], 3, axis=2))
    return from_pixels(np.concatenate(columns, axis=1), color=True)
