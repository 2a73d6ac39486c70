"""What the decoders of the built-in format give, and the forms of colour that they have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fusekit.images.image import Array
from fusekit.images.rows import in_bands


class Decoded(NamedTuple):
    """The pixels of a file, as they are stored but for the form of their colour.

    Attributes:
        pixels: grey (H, W) or RGB (H, W, 3), white the greatest value.
        alpha: (H, W), opaque the greatest value, not multiplied into the pixels yet; ``None`` where there is none.
        orientation: of `fusekit.images.formats.orientation`; 1 where nothing is said.
        notes: what decoding changed or left aside.
    """

    pixels: Array
    alpha: Array | None = None
    orientation: int = 1
    notes: tuple[str, ...] = ()


class Opened(ABC):
    """An open file of one kind, of which only what is asked for is read.

    The methods raise a `FormError` for what is not read, and whatever a damaged file makes decoders raise.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def close(self) -> None:
        """Free what was made beside the file, which stays open."""
        return

    def pages(self) -> int:
        """Return how many images there are; thumbnails are none."""
        return 1

    @abstractmethod
    def shape(self, page: int) -> tuple[int, int, int]:
        """Return height, width and channels of an image, as they are stored; pages are counted from 1."""

    @abstractmethod
    def decode(self, page: int) -> Decoded:
        """Return the pixels of an image, in no more memory than its shape needs."""


class FormError(Exception):
    """A file is well but of a form that fusekit does not read: the fact, and the remedy behind a semicolon."""


def from_pillow(picture: Any) -> Decoded:
    """Return the pixels of a Pillow image that was loaded: of 8 bits or 1 bit, grey, RGB, CMYK or a palette."""
    notes: tuple[str, ...] = ()
    if picture.mode in ("P", "PA"):
        notes = ("palette expanded",)
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
    pixels = np.asarray(picture)
    if picture.mode == "CMYK":
        return Decoded(rgb_of_cmyk(pixels), notes=("CMYK converted to RGB",))
    if picture.mode in ("LA", "RGBA"):
        colors = pixels[..., 0] if picture.mode == "LA" else pixels[..., :3]
        return Decoded(colors, pixels[..., -1], notes=notes)
    if picture.mode not in ("1", "L", "RGB"):
        raise FormError(f"holds pixels of Pillow's mode {picture.mode}; save it as grey or RGB")
    return Decoded(pixels, notes=notes)


def widened(values: Array, bits: int) -> Array:
    """Return integers of 2 to 7 bits on the scale of 8, and of 9 to 15 bits on that of 16: white stays white."""
    depth = np.uint8 if bits < 8 else np.uint16
    factor = np.iinfo(depth).max / (2**bits - 1)
    return in_bands(lambda band: np.rint(band * factor).astype(depth), values)


def rgb_of_cmyk(inks: Array) -> Array:
    """Return RGB (H, W, 3) of cyan, magenta, yellow and black (H, W, 4), uint8 or uint16, of which 0 is no ink.

    Each ink takes its share of what the black leaves: R = (1 − C)(1 − K). No profile of a printer is applied.
    """
    white = np.iinfo(inks.dtype).max

    def converted(band: Array) -> Array:
        left = white - band.astype(np.float64)
        return np.rint(left[..., :3] * left[..., 3:] / white).astype(inks.dtype)

    return in_bands(converted, inks)


def rgb_of_ycbcr(values: Array, weights: tuple[float, float, float], limits: tuple[float, ...]) -> Array:
    """Return RGB (H, W, 3) uint8 of luminance and chroma (H, W, 3) uint8 (TIFF 6.0, section 21).

    Args:
        values: Y, Cb, Cr.
        weights: of red, green and blue in the luminance.
        limits: black and white of Y, and 0 and the greatest value of Cb and of Cr: TIFF's ReferenceBlackWhite.
    """
    red, green, blue = weights
    y0, y1, b0, b1, r0, r1 = limits

    def converted(band: Array) -> Array:
        band = band.astype(np.float64)
        y = (band[..., 0] - y0) * 255 / (y1 - y0)
        cb, cr = (band[..., 1] - b0) * 127 / (b1 - b0), (band[..., 2] - r0) * 127 / (r1 - r0)
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        g = (y - blue * b - red * r) / green
        return np.rint(np.stack([r, g, b], axis=-1).clip(0, 255)).astype(np.uint8)

    return in_bands(converted, values)
