"""What surrounds the patient: where an image is constant as far as a feature sees, the feature is known beforehand.

In medical images half of the pixels or more are air of one grey level. A feature whose whole neighbourhood has that
level is the one that a constant image has there; it depends only on how near the border of the image is. So a small
constant image is encoded once, and its features are copied to wherever the background reaches far enough.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fusekit_ehdran.fast.tiles import Tile

#: Width of an image whose strips, in each of which the columns between background and background are encoded, are as
#: high as the pixels of a tile allow: low ones follow the outline, high ones have less margin.
_USUAL_WIDTH = 256
#: Widths are multiples of this: few different ones, since a library prepares its convolutions anew for each.
_STEP = 8
#: Images with a smaller share of background are encoded whole.
_WORTHWHILE = 0.05


class Split(NamedTuple):
    """Tiles of one image, which begin at multiples of four.

    Attributes:
        computed: tiles whose features must be computed.
        constant: tiles whose features are those of a constant image.
    """

    computed: list[Tile]
    constant: list[Tile]


def split_background(image: Tensor, reach: int, pixels: int) -> Split | None:
    """Cut an image into tiles that must be computed and tiles whose features are those of a constant image.

    Args:
        image: (H, W); its upper left pixel is taken for background.
        reach: how far a feature sees, in pixels.
        pixels: that a tile to be computed has at most, about.

    Returns:
        the tiles; ``None`` where little is background.
    """
    height, width = image.shape
    differs = image != image[0, 0]
    computed: list[Tile] = []
    constant: list[Tile] = []
    rows = max(pixels // _USUAL_WIDTH // 4 * 4, 8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        columns = differs[max(top - reach, 0) : bottom + reach].any(0).nonzero().flatten()
        left = right = width
        if len(columns):
            left = max(int(columns[0]) - reach, 0) // _STEP * _STEP
            right = min(-(-(int(columns[-1]) + reach + 1) // _STEP) * _STEP, width)
        spans = [(0, left, constant), (right, width, constant)]
        wide = max(pixels // (bottom - top), _STEP) // _STEP * _STEP
        spans += [(first, min(first + wide, right), computed) for first in range(left, right, wide)]
        for first, last, tiles in spans:
            if first < last:
                tiles.append(Tile(top, bottom, first, last, height, width))
    share = sum((tile.bottom - tile.top) * (tile.right - tile.left) for tile in constant) / (height * width)
    return Split(computed, constant) if share >= _WORTHWHILE else None


def template_side(side: int, reach: int) -> int:
    """Return the side of the smallest image that has every distance from the border that one of ``side`` has.

    Distances of ``reach`` and more are alike, and blocks of two begin at the same places seen from either end.
    """
    return min(side, 2 * reach + 2 + side % 2)


def fill_constant(features: Tensor, template: Tensor, tile: Tile, reach: int) -> None:
    """Write the features of a constant image into a tile.

    Args:
        features: of images (B, C, H, W).
        template: features (1, C, h, w) of a constant image with the sides of `template_side`.
        tile: where to write.
        reach: how far a feature sees, in pixels.
    """
    rows = _places(tile.top, tile.bottom, tile.height, template.shape[2], reach)
    columns = _places(tile.left, tile.right, tile.width, template.shape[3], reach)
    pixels = template.movedim(1, 3).index_select(1, rows).index_select(2, columns)
    tile.cut(features).copy_(pixels.movedim(3, 1))


def _places(start: int, stop: int, side: int, small: int, reach: int) -> Tensor:
    """Return where in a template of ``small`` pixels the pixels ``start`` to ``stop`` of ``side`` have their like."""
    places = torch.arange(start, stop)
    if small == side:
        return places
    return torch.where(places >= side - reach, places - (side - small), places.clamp(max=reach))
