"""The image as it moves through the pipeline's ends: stored pixels, with where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusekit.errors import InputError
from fusekit.images.rows import in_bands

Array = npt.NDArray[Any]
DEPTHS = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class Image:
    """One two-dimensional image in its stored values.

    Attributes:
        pixels: (H, W), or (H, W, 3) RGB; uint8, uint16 or float32.
        path: the file that it was read from, if any.
        sha256: digest of that file's bytes.
        notes: what reading changed, for the record: alpha composited, palette expanded, …
    """

    pixels: Array
    path: Path | None = None
    sha256: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    @property
    def depth(self) -> str:
        """``uint8``, ``uint16`` or ``float32``."""
        return str(self.pixels.dtype)

    @property
    def is_color(self) -> bool:
        """Whether there are three channels."""
        return self.pixels.ndim == 3

    @property
    def name(self) -> str:
        """What messages call this image."""
        return str(self.path) if self.path is not None else "an array"


def full_scale(depth: str) -> float:
    """Return the value that stands for white: 255, 65535, or 1 for floats."""
    return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[depth]


def from_pixels(pixels: Array, *, path: Path | None = None, sha256: str = "", notes: tuple[str, ...] = ()) -> Image:
    """Make an `Image` of whatever array a reader or a user gives.

    Grey (H, W) or (H, W, 1), grey with alpha (H, W, 2), RGB (H, W, 3) and RGBA (H, W, 4); bool, integers and floats.
    Alpha is composited over black, the background of medical images. Three equal channels become one. 8 and 16 bit
    unsigned integers keep their type; everything else becomes float32.

    Raises:
        InputError: not an image of these shapes, fewer than 2×2 pixels, or values that are not finite.
    """
    name = str(path) if path is not None else "the array"
    said = list(notes)
    pixels = np.asarray(pixels)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 2, 3, 4)):
        raise InputError(
            f"{name} has shape {pixels.shape}; fusekit reads (height, width) and (height, width, 1 to 4 channels)"
        )
    if min(pixels.shape[:2]) < 2:
        raise InputError(f"{name} is {pixels.shape[0]}×{pixels.shape[1]} pixels; images need at least 2×2 to be fused")
    pixels = _known_dtype(pixels, name, said)
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        count = int(np.count_nonzero(~np.isfinite(pixels)))
        raise InputError(f"{name} holds {count} values that are NaN or infinite; replace them before fusing")
    if pixels.ndim == 3:
        pixels = _flat_channels(pixels, said)
    return Image(np.ascontiguousarray(pixels), path, sha256, tuple(said))


def _known_dtype(pixels: Array, name: str, notes: list[str]) -> Array:
    """Return uint8, uint16 or float32 pixels, noting what was cast."""
    if pixels.dtype == np.bool_:
        notes.append("1 bit widened to 8")
        return pixels.astype(np.uint8) * 255
    if pixels.dtype in (np.uint8, np.uint16, np.float32):
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind not in "iuf":
        raise InputError(f"{name} holds values of type {pixels.dtype}; fusekit reads integers and floats")
    notes.append(f"{pixels.dtype} read as float32")
    # A float64 beyond float32 becomes infinite here, and is refused as such.
    with np.errstate(over="ignore"):
        return pixels.astype(np.float32)


def _over_black(pixels: Array, alpha: Array) -> Array:
    """Composite colours (H, W, C) of an opacity (H, W) on the same scale over black."""
    blended = pixels * (alpha.astype(np.float64) / full_scale(str(alpha.dtype)))[:, :, None]
    return (np.rint(blended) if pixels.dtype.kind == "u" else blended).astype(pixels.dtype)


def _flat_channels(pixels: Array, notes: list[str]) -> Array:
    """Composite alpha over black and drop channels that say nothing."""
    channels = pixels.shape[2]
    if channels in (2, 4):
        alpha = pixels[:, :, -1]
        pixels = pixels[:, :, :-1]
        if (alpha < full_scale(str(pixels.dtype))).any():
            notes.append("alpha composited over black")
            pixels = in_bands(_over_black, pixels, alpha)
        else:
            notes.append("opaque alpha dropped")
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    if (pixels == pixels[:, :, :1]).all():
        notes.append("three equal channels read as grey")
        return pixels[:, :, 0]
    return pixels
