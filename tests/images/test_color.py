"""Luminance and chroma."""

from __future__ import annotations

import numpy as np
import pytest

from fusekit.images import color

LEVELS = np.array([*range(0, 256, 5), 1, 254], dtype=np.float64)
GRID = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij"), axis=-1).reshape(len(LEVELS), -1, 3)


def test_restore_is_the_exact_inverse() -> None:
    np.testing.assert_allclose(color.restore(color.luminance(GRID), color.chroma(GRID)), GRID, atol=1e-9)


def test_8_bit_round_trip_is_within_one_grey_level() -> None:
    rgb = GRID.astype(np.uint8)
    y = np.rint(color.luminance(rgb))
    cbcr = np.rint(color.chroma(rgb.astype(np.float64)))
    back = np.clip(np.rint(color.restore(y, color.chroma(rgb.astype(np.float64)))), 0, 255)
    assert np.abs(back - GRID).max() <= 1
    # Where the chroma is rounded too, as in a JPEG, half a level of it makes up to 0.886 of blue.
    assert np.abs(np.clip(np.rint(color.restore(y, cbcr)), 0, 255) - GRID).max() <= 2


def test_luminance_and_chroma_of_known_colours() -> None:
    assert pytest.approx(1) == color.RED + color.GREEN + color.BLUE
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(color.luminance(colours), [[76.245, 149.685, 29.07, 255]])
    cbcr = color.chroma(colours.astype(np.float64))
    assert cbcr[0, 2, 0] == pytest.approx(127.5)
    assert cbcr[0, 0, 1] == pytest.approx(127.5)
    np.testing.assert_allclose(cbcr[0, 3], 0, atol=1e-9)


def test_grey_has_its_own_luminance_and_no_chroma() -> None:
    grey = np.repeat(np.arange(256.0)[:, None, None], 3, axis=2)
    np.testing.assert_allclose(color.luminance(grey)[:, 0], np.arange(256), atol=1e-9)
    np.testing.assert_allclose(color.chroma(grey), 0, atol=1e-9)
