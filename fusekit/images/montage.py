"""Pictures of several images side by side, for looking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusekit.errors import InputError
from fusekit.images.coloring import mapped
from fusekit.images.image import Array, Image, from_pixels
from fusekit.images.ranges import find_range

#: Pixels between images.
_GAP = 4
#: Of a bar: least width in pixels, least height of what is written beside it, and parts of the height that they are.
_BAR, _TEXT, _PARTS = 16, 10, 24


def side_by_side(
    images: Sequence[Image],
    ranges: Sequence[tuple[float, float]] | None = None,
    bar: tuple[str, tuple[float, float]] | None = None,
) -> Image:
    """Return images of one size in a row, as 8-bit RGB (H, W') with white gaps between.

    Args:
        images: pictures.
        ranges: stored values that are black and white in each; what fusing would find without.
        bar: a colour map, and the stored values at its ends, to be shown at the right.

    Raises:
        InputError: one has other than two axes.
    """
    columns: list[Array] = []
    for image, limits in zip(images, ranges or [find_range(each).limits for each in images], strict=True):
        if len(image.size) != 2:
            raise InputError(f"{image.name} has {len(image.size)} axes, and only pictures are shown side by side")
        pixels = _shown(image, limits)
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

    size, width = max(height // _PARTS, _TEXT), max(height // _PARTS, _BAR)
    low, high = (f"{end:.5g}" for end in ends)
    measure = ImageDraw.Draw(Pillow.new("RGB", (1, 1)))
    beside = max(int(measure.textlength(text, font_size=size)) for text in (low, high)) + 2 * _GAP
    ramp = np.rint(mapped(np.linspace(1, 0, height), color_map) * 255).astype(np.uint8)
    picture = Pillow.new("RGB", (width + beside, height), "white")
    picture.paste(Pillow.fromarray(np.repeat(ramp[:, None], width, axis=1)), (0, 0))
    draw = ImageDraw.Draw(picture)
    draw.text((width + _GAP, 2), high, fill="black", font_size=size)
    draw.text((width + _GAP, height - 2), low, fill="black", font_size=size, anchor="ls")
    return np.asarray(picture)
