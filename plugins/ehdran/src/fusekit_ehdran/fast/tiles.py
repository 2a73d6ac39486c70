"""Tiles of an image: what a network computes on one is exactly what it computes there on the whole image.

Inside a tile every convolution runs without padding on an input that reaches further by its radius. Where that input
lies outside the image it is zero, as the padding of the plain network is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bytes of one channel of a tile on a CPU. Of 64 channels a layer has 2 MiB then: near a core's cache, and little
#: enough that the C library keeps what is freed for the next tile instead of giving it back to the system, which hands
#: it out again page by page.
TILE_BYTES = 32768


@dataclass(frozen=True)
class Tile:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image of ``height`` × ``width`` pixels."""

    top: int
    bottom: int
    left: int
    right: int
    height: int
    width: int

    def cut(self, image: Tensor) -> Tensor:
        """Return the tile of an image (…, H, W), a view."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def window(self, padded: Tensor, margin: int, reach: int) -> Tensor:
        """Return the tile grown by ``reach`` ≤ ``margin`` pixels, a view of an image padded by ``margin``."""
        before, after = margin - reach, margin + reach
        return padded[..., self.top + before : self.bottom + after, self.left + before : self.right + after]

    def seen(self, image: Tensor, reach: int) -> Tensor:
        """Return the part inside the image of the tile grown by ``reach`` pixels, a view of an image (…, H, W)."""
        return image[
            ...,
            max(self.top - reach, 0) : self.bottom + reach,
            max(self.left - reach, 0) : self.right + reach,
        ]

    def padded(self, seen: Tensor, reach: int) -> Tensor:
        """Return what `seen` returned with zeros around it where the grown tile lies outside the image."""
        rows, columns = self._outside(reach)
        return F.pad(seen, (*columns, *rows)) if any((*rows, *columns)) else seen

    def blank_outside(self, x: Tensor, reach: int) -> Tensor:
        """Set to zero, in place, what lies outside the image in x (B, C, …), which is the tile grown by ``reach``."""
        (above, below), (before, after) = self._outside(reach)
        if above:
            x[:, :, :above] = 0
        if below:
            x[:, :, -below:] = 0
        if before:
            x[:, :, :, :before] = 0
        if after:
            x[:, :, :, -after:] = 0
        return x

    def _outside(self, reach: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return how many rows and columns, before and after, of the tile grown by ``reach`` are outside the image."""
        rows = max(reach - self.top, 0), max(self.bottom + reach - self.height, 0)
        return rows, (max(reach - self.left, 0), max(self.right + reach - self.width, 0))


def tile_pixels(device: torch.device, dtype: torch.dtype) -> int:
    """Return about how many pixels are computed at a time: on a CPU what `TILE_BYTES` makes of the dtype.

    On a GPU everything up to 16 megapixels.
    """
    return TILE_BYTES // dtype.itemsize if device.type == "cpu" else 1 << 24


def chunks(images: Tensor, pixels: int) -> Iterator[tuple[slice, Tile]]:
    """Cut a batch (B, C, H, W) into pieces of about ``pixels`` pixels: images together, or tiles of single ones."""
    batch, _, height, width = images.shape
    together = max(pixels // (height * width), 1)
    for first in range(0, batch, together):
        for tile in tiles(height, width, pixels):
            yield slice(first, first + together), tile


def tiles(height: int, width: int, pixels: int) -> Iterator[Tile]:
    """Cut an image into tiles of at most about ``pixels`` pixels whose top and left are multiples of four."""
    tall, wide = _sides(height, width, pixels)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            yield Tile(top, min(top + tall, height), left, min(left + wide, width), height, width)


def _sides(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Return height and width of tiles: as wide as the image where they can be 64 rows tall, else 64 rows or more."""
    if height * width <= pixels:
        return height, width
    columns = max(pixels // 64, 4)
    # Parts of nearly equal width waste least on their margins.
    parts = max(-(-width // columns), 1)
    wide = _up_to_four(-(-width // parts))
    return _up_to_four(-(-height // max(-(-height * wide // pixels), 1))), wide


def _up_to_four(side: int) -> int:
    return side + -side % 4


def border(tile: Tile, depth: int) -> Iterator[tuple[Tile, slice, slice]]:
    """Yield the parts of a tile within ``depth`` pixels of the image's border, with their rows and columns in it."""
    top, bottom, left, right = tile.top, tile.bottom, tile.left, tile.right
    upper, lower = min(max(depth, top), bottom), max(min(tile.height - depth, bottom), top)
    lower = max(lower, upper)
    before, after = min(max(depth, left), right), max(min(tile.width - depth, right), left)
    after = max(after, before)
    parts = [(top, upper, left, right), (lower, bottom, left, right)]
    parts += [(upper, lower, left, before), (upper, lower, after, right)]
    for first, last, start, stop in parts:
        if first < last and start < stop:
            part = Tile(first, last, start, stop, tile.height, tile.width)
            yield part, slice(first - top, last - top), slice(start - left, stop - left)


def inner(x: Tensor, by: int) -> Tensor:
    """Cut ``by`` pixels from each side of x (B, C, H, W); a view."""
    return x[:, :, by : x.shape[2] - by, by : x.shape[3] - by]
