"""Tiles of an image, each with the pixels around it that its result depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Reach(NamedTuple):
    """How far a model sees, so that its images can be cut into tiles: what `FusionModel.reach` declares.

    A window that ends at the image's border must be padded there as the whole image is.

    Attributes:
        encode: pixels around a feature that it depends on.
        decode: pixels of features around an output pixel that it depends on.
        multiple: rows and columns at which a window may begin are multiples of this, as the blocks of a pooling are.
        working: maps as large as one source's features that encoding or decoding holds at most beside the features;
            for the estimate of memory.
    """

    encode: int
    decode: int
    multiple: int = 1
    working: float = 12.0


@dataclass(frozen=True)
class Tile:
    """A part of an image with what is seen around it.

    Attributes:
        core: rows and columns of the image that the tile answers for; each pixel lies in the core of one tile.
        seen: rows and columns of the window around the core, cut at the image's border.
    """

    core: tuple[slice, slice]
    seen: tuple[slice, slice]

    def window(self, image: Tensor) -> Tensor:
        """Return the window of an image (…, H, W), a view."""
        rows, columns = self.seen
        return image[..., rows, columns]

    def inner(self, window: Tensor) -> Tensor:
        """Return the core of a window (…, h, w), a view."""
        rows, columns = (
            slice(core.start - seen.start, core.stop - seen.start)
            for core, seen in zip(self.core, self.seen, strict=True)
        )
        return window[..., rows, columns]

    def write(self, image: Tensor, window: Tensor) -> None:
        """Copy the core of a window (…, h, w) to its place in an image (…, H, W)."""
        rows, columns = self.core
        image[..., rows, columns] = self.inner(window)


def tiles(size: Sequence[int], sides: Sequence[int], reach: int, multiple: int = 1) -> list[Tile]:
    """Cut an image into tiles, row after row.

    Args:
        size: height and width of the image.
        sides: height and width of the cores; the last ones may be smaller.
        reach: pixels around the core that are seen, or some more.
        multiple: windows begin, and inside the image end, at multiples of this.
    """
    spans = [
        [(start, min(start + side, length)) for start in range(0, length, side)]
        for length, side in zip(size, sides, strict=True)
    ]
    return [
        Tile(
            (slice(*rows), slice(*columns)),
            (_grown(rows, size[0], reach, multiple), _grown(columns, size[1], reach, multiple)),
        )
        for rows in spans[0]
        for columns in spans[1]
    ]


def even_sides(size: Sequence[int], most: int, multiple: int = 1) -> tuple[int, int]:
    """Return the sides of tiles of nearly equal size, multiples of ``multiple`` and at most about ``most`` pixels."""
    sides = []
    for length in size:
        side = -(-length // -(-length // most))
        sides.append(side + -side % multiple)
    return sides[0], sides[1]


def _grown(span: tuple[int, int], length: int, reach: int, multiple: int) -> slice:
    start, stop = max(span[0] - reach, 0), span[1] + reach
    return slice(start - start % multiple, min(stop + -stop % multiple, length))
