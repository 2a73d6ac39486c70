"""Images: colour is what the reader says, whatever the number of axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusekit.errors import InputError
from fusekit.images.grid import Grid
from fusekit.images.image import Image, Origin, from_pixels

AXES = ("slice", "row", "column")


@pytest.mark.parametrize("slices", [2, 3, 5])
def test_a_volume_is_not_taken_for_colour(slices: int) -> None:
    affine: Any = np.eye(4)
    grid = Grid((6, 5, slices), (1.0, 1.0, 3.0), affine, ("x", "y", "z"))
    volume = from_pixels(np.zeros((6, 5, slices), np.uint16), color=False, grid=grid)
    assert (volume.color, volume.size, volume.depth) == (False, (6, 5, slices), "uint16")
    assert volume.grid is grid


def test_a_volume_of_colours() -> None:
    image = from_pixels(np.zeros((4, 6, 5, 3), np.uint8), color=True, grid=Grid((4, 6, 5), axes=AXES))
    assert (image.color, image.size) == (True, (4, 6, 5))
    flat = from_pixels(np.zeros((4, 6, 5, 3), np.uint8), grid=Grid((4, 6, 5), axes=AXES))
    assert (flat.color, flat.pixels.shape) == (False, (4, 6, 5))


def test_stated_colour_is_kept_where_told_colour_is_dropped() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    assert from_pixels(pixels, color=True).color
    assert not from_pixels(pixels).color


@pytest.mark.parametrize(("shape", "color"), [((4, 5, 3), False), ((4, 5), True), ((4, 5, 4), True)])
def test_pixels_that_are_not_what_is_said(shape: tuple[int, ...], color: bool) -> None:
    with pytest.raises(InputError, match="has shape"):
        from_pixels(np.zeros(shape, np.uint8), color=color)


def test_pixels_off_their_grid() -> None:
    with pytest.raises(ValueError, match="cannot have the shape"):
        Image(np.zeros((4, 5), np.uint8), False, Grid((5, 4)))


def test_computed_pixels_keep_grid_and_header_and_have_no_file() -> None:
    origin = Origin((Path("a.nii"),), "digest", "nifti", {"descrip": "a"})
    image = from_pixels(np.zeros((4, 5), np.uint8), origin=origin, grid=Grid((4, 5), (2.0, 2.0)))
    made = image.with_pixels(np.zeros((4, 5, 3), np.uint8), color=True)
    assert made.grid is image.grid
    assert made.origin == Origin((), "", "nifti", {"descrip": "a"})
    assert (image.name, made.name, made.color) == ("a.nii", "an array", True)
    series = Origin((Path("ct/1.dcm"), Path("ct/2.dcm")))
    assert series.path == Path("ct")


@pytest.mark.parametrize("stored", [">u2", "<u2", ">f4"])
def test_either_order_of_bytes_keeps_its_depth(stored: str) -> None:
    pixels = np.arange(12).reshape(3, 4).astype(stored)
    image = from_pixels(pixels)
    assert (image.depth, image.notes) == ({"u2": "uint16", "f4": "float32"}[stored[1:]], ())
    np.testing.assert_array_equal(image.pixels, pixels)
