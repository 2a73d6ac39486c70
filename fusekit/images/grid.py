"""The grid that an image's values lie on: how many, how far apart, and where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusekit.errors import size_text

PICTURE_AXES = ("row", "column")
#: Parts of a voxel's least side by which the corners of two grids that are the same may lie apart.
_SAME = 0.01


@dataclass(frozen=True)
class Grid:
    """Where the values of an image lie.

    Attributes:
        shape: values along each spatial axis.
        spacing: millimetres from one value to the next along each axis, or ``None`` where nobody knows.
        affine: 4×4, by rows: from the indices along the axes, as (i, j, k, 1) with k = 0 where there are two, to
            millimetres (right, anterior, superior); ``None`` for a picture.
        axes: what each axis is called, in the order of the pixels' axes.

    Raises:
        ValueError: the parts do not fit together.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    axes: tuple[str, ...] = PICTURE_AXES

    def __post_init__(self) -> None:
        _set(self, "shape", tuple(int(side) for side in self.shape))
        _set(self, "axes", tuple(self.axes))
        if len(self.axes) != len(self.shape) or min(self.shape, default=0) < 1:
            raise ValueError(f"a grid of shape {self.shape} cannot have the axes {self.axes}")
        if self.spacing is not None:
            _set(self, "spacing", tuple(float(each) for each in self.spacing))
            if len(self.spacing) != len(self.shape) or not all(0 < each < math.inf for each in self.spacing):
                raise ValueError(f"a grid of shape {self.shape} cannot have the spacing {self.spacing}")
        if self.affine is not None:
            affine = np.asarray(self.affine, dtype=np.float64)
            if affine.shape != (4, 4) or not np.isfinite(affine).all():
                raise ValueError(f"an affine has 4×4 finite numbers, not {self.affine!r}")
            _set(self, "affine", tuple(tuple(row) for row in affine.tolist()))

    def differs_from(self, other: Grid, names: tuple[str, str] = ("the first", "the second")) -> str | None:
        """Return what differs and how, to stand behind "the sources differ in", or ``None`` where nothing does.

        A spacing or an affine that only one of the two knows is not compared.

        Args:
            other: the grid to compare with.
            names: what to call the image on this grid and the one on the other.
        """
        first, second = names
        unit = "pixels" if len(other.shape) == 2 else "voxels"
        if self.axes != other.axes:
            return f"axes: {first} has {', '.join(self.axes)} and {second} has {', '.join(other.axes)}"
        if self.shape != other.shape:
            return f"size: {first} is {size_text(self.shape)} and {second} is {size_text(other.shape)} {unit}"
        if (
            self.spacing
            and other.spacing
            and not np.allclose(self.spacing, other.spacing, rtol=_SAME / max(self.shape))
        ):
            return f"spacing: {first} has {_millimetres(self.spacing)} and {second} {_millimetres(other.spacing)}"
        return self._lies_elsewhere(other, first, second)

    def _lies_elsewhere(self, other: Grid, first: str, second: str) -> str | None:
        if self.affine is None or other.affine is None:
            return None
        steps = np.linalg.norm(np.asarray(self.affine)[:3, : len(self.shape)], axis=0)
        apart = np.linalg.norm(self._corners() - other._corners(), axis=1)
        if float(apart.max()) <= _SAME * float(steps.min()):
            return None
        if np.allclose(apart, apart[0], rtol=1e-3) and np.allclose(
            np.asarray(self.affine)[:3, :3], np.asarray(other.affine)[:3, :3], atol=1e-6
        ):
            return f"offset: {second} lies {apart[0]:.4g} mm from {first}"
        return f"direction: corners of {second} lie up to {apart.max():.4g} mm from those of {first}"

    def _corners(self) -> npt.NDArray[Any]:
        """Return where the corner values lie, in millimetres: (corners, 3)."""
        ends = [(0, side - 1) for side in self.shape]
        indices = [(*corner, *[0] * (3 - len(corner)), 1) for corner in itertools.product(*ends)]
        return (np.asarray(self.affine) @ np.asarray(indices, dtype=np.float64).T)[:3].T


def _set(grid: Grid, name: str, value: Any) -> None:
    object.__setattr__(grid, name, value)


def _millimetres(spacing: Sequence[float]) -> str:
    return "×".join(f"{each:.6g}" for each in spacing) + " mm"
