"""Work in bands of rows."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cli import texture

import fusekit
from fusekit.images import rows as bands
from fusekit.images.color import luminance
from fusekit.images.ranges import from_unit, to_unit


def test_bands_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    colors, grey = texture(1, 50, 40, 4), texture(2, 50, 40)
    unit = to_unit(grey, (3.0, 250.0))

    def everything() -> list[np.ndarray]:
        return [
            luminance(colors[..., :3]),
            to_unit(grey, (3.0, 250.0)),
            from_unit(unit, "float32", (-5.0, 9.0)),
            fusekit.fuse([colors, grey], "pixel").image,
            fusekit.fuse([colors[..., :3].astype(np.float32) * 3 - 1, grey], "pixel").image,
        ]

    whole = everything()
    monkeypatch.setattr(bands, "_BAND", 7 * 40)
    for found, expected in zip(everything(), whole, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
