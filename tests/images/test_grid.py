"""Grids: when two are the same, and the sentence that says in what they differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusekit.images.grid import Grid

AFFINE: Any = np.diag([-0.5, -0.5, 3.0, 1.0])
VOLUME = Grid((4, 6, 5), (0.5, 0.5, 3.0), AFFINE, ("x", "y", "z"))


def moved(by: tuple[float, float, float], turn: float = 0.0) -> Grid:
    affine = AFFINE.copy()
    affine[:3, 3] = by
    affine[:2, :2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ affine[:2, :2]
    return Grid(VOLUME.shape, VOLUME.spacing, affine, VOLUME.axes)


def test_the_same_grids_do_not_differ() -> None:
    given: Any = ((4, 6, 5), [0.5, 0.5, 3.0], AFFINE.tolist(), ["x", "y", "z"])
    assert VOLUME.differs_from(Grid(*given)) is None
    assert moved((0, 0, 0.001)).differs_from(VOLUME) is None
    assert moved((0, 0, 0)) == VOLUME
    assert hash(VOLUME) == hash(moved((0, 0, 0)))


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (Grid((4, 6)), "axes: a has x, y, z and b has row, column"),
        (Grid((4, 6, 5), None, None, ("z", "y", "x")), "axes: a has x, y, z and b has z, y, x"),
        (Grid((4, 6, 4), None, None, ("x", "y", "z")), "size: a is 4×6×5 and b is 4×6×4 voxels"),
        (
            Grid((4, 6, 5), (0.5, 0.5, 2.5), None, ("x", "y", "z")),
            "spacing: a has 0.5×0.5×3 mm and b 0.5×0.5×2.5 mm",
        ),
        (moved((3, 4, 0)), "offset: b lies 5 mm from a"),
    ],
)
def test_what_differs_is_said(other: Grid, sentence: str) -> None:
    assert VOLUME.differs_from(other, ("a", "b")) == sentence


def test_a_turned_grid_differs_in_direction() -> None:
    difference = VOLUME.differs_from(moved((0, 0, 0), turn=0.1), ("a", "b"))
    assert difference is not None
    assert difference.startswith("direction: corners of b lie up to ")


def test_a_mirrored_grid_is_not_the_same() -> None:
    affine: Any = np.diag([0.5, -0.5, 3.0, 1.0])
    mirrored = Grid(VOLUME.shape, VOLUME.spacing, affine, VOLUME.axes)
    assert "direction" in str(VOLUME.differs_from(mirrored))


def test_pictures_differ_in_size_alone() -> None:
    picture = Grid((4, 6))
    assert picture.axes == ("row", "column")
    assert picture.differs_from(Grid((4, 6), (1.0, 1.0))) is None
    assert picture.differs_from(Grid((6, 4))) == "size: the first is 4×6 and the second is 6×4 pixels"


@pytest.mark.parametrize(
    "parts",
    [
        {"shape": (4, 6, 5)},
        {"shape": (4, 0)},
        {"shape": (), "axes": ()},
        {"shape": (4, 6), "spacing": (1.0,)},
        {"shape": (4, 6), "spacing": (1.0, 0.0)},
        {"shape": (4, 6), "affine": np.eye(3)},
        {"shape": (4, 6), "affine": np.full((4, 4), np.nan)},
    ],
)
def test_parts_that_do_not_fit(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot have|4×4"):
        Grid(**parts)
