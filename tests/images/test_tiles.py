"""Tiles: which parts of an image are computed, and which are seen."""

from __future__ import annotations

import torch

from fusekit.images.tiles import even_sides, tiles


def test_windows_cover_the_image_once_and_begin_at_multiples() -> None:
    seen = torch.zeros(50, 41, dtype=torch.int64)
    for tile in tiles((50, 41), (13, 20), 5, 4):
        tile.window(seen)  # a view of the image
        seen[tile.core] += 1
        for core, window, length in zip(tile.core, tile.seen, (50, 41), strict=True):
            assert window.start % 4 == 0
            assert window.stop == length or window.stop % 4 == 0
            assert window.start == 0 or window.start <= core.start - 5
            assert window.stop == length or window.stop >= core.stop + 5
    assert (seen == 1).all()
    assert even_sides((4096, 1000), 683, 4) == (684, 500)
    assert even_sides((50, 20), 100) == (50, 20)
