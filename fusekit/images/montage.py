"""Pictures of several images side by side, for looking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusekit.images.coloring import mapped
from fusekit.images.files import read_image
from fusekit.images.image import Array, Image, from_pixels
from fusekit.images.ranges import find_range

_GAP, _BAR = 4, 16
#: Pixels beside a bar for the values at its ends.
_LABELS = 64


def side_by_side(
    paths: Sequence[Path],
    ranges: Sequence[tuple[float, float] | None] | None = None,
    bar: tuple[str, tuple[float, float]] | None = None,
    **reading: Any,
) -> Image:
    """Return images of one size in a row, as 8-bit RGB (H, W') with white gaps between.

    Args:
        paths: of the images.
        ranges: stored values that are black and white in each; what fusing would find without.
        bar: a colour map, and the stored values at its ends, to be shown at the right.
        reading: choices of `fusekit.images.files.read_image`.
    """
    columns: list[Array] = []
    for path, limits in zip(paths, ranges or [None] * len(paths), strict=True):
        image = read_image(path, **reading)
        pixels = _shown(image, limits or find_range(image).limits)
        columns += [np.full((image.size[0], _GAP, 3), 255, np.uint8)] if columns else []
        columns.append(pixels if image.color else np.repeat(pixels[:, :, None], 3, axis=2))
    if bar is not None:
        columns += [np.full((len(columns[0]), _GAP, 3), 255, np.uint8), _bar_of(len(columns[0]), *bar)]
    return from_pixels(np.concatenate(columns, axis=1), color=True)


def _shown(image: Image, limits: tuple[float, float]) -> Array:
    low, high = limits
    unit = np.clip((image.pixels.astype(np.float64) - low) / (high - low), 0, 1)
    return np.rint(unit * 255).astype(np.uint8)


def _bar_of(height: int, color_map: str, ends: tuple[float, float]) -> Array:
    """Return a bar of a colour map (height, width, 3), the greatest value at the top, with the values at its ends."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    ramp = np.rint(mapped(np.linspace(1, 0, height), color_map) * 255).astype(np.uint8)
    picture = Pillow.new("RGB", (_BAR + _LABELS, height), "white")
    picture.paste(Pillow.fromarray(np.repeat(ramp[:, None], _BAR, axis=1)), (0, 0))
    draw = ImageDraw.Draw(picture)
    draw.text((_BAR + 4, 2), f"{ends[1]:.5g}", fill="black")
    draw.text((_BAR + 4, height - 2), f"{ends[0]:.5g}", fill="black", anchor="ls")
    return np.asarray(picture)
