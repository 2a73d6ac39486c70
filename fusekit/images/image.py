"""The image as it moves through the pipeline's ends: stored pixels, their grid, and where they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusekit.errors import InputError, size_text
from fusekit.images.grid import Grid
from fusekit.images.rows import in_bands

Array = npt.NDArray[Any]
DEPTHS = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class Origin:
    """Where an image came from, and what its format wants back when an image like it is written.

    Attributes:
        files: one, or the many of a series; none for an image that was computed.
        sha256: hexadecimal digest of the file's bytes, or of the files' digests in order.
        format: the registered name of the format.
        header: what the format needs to write an image as this one came in, or ``None``.
        page: which image of a file that holds several, counted from 1; ``None`` of a file that holds one.
    """

    files: tuple[Path, ...] = ()
    sha256: str = ""
    format: str = ""
    header: Mapping[str, Any] | None = None
    page: int | None = None

    @property
    def path(self) -> Path | None:
        """The file, the folder of several files, or ``None`` where there is no file."""
        return None if not self.files else self.files[0] if len(self.files) == 1 else self.files[0].parent


@dataclass(frozen=True)
class Image:
    """One image in its stored values.

    Attributes:
        pixels: (*grid.shape), or (*grid.shape, 3) RGB where there is colour; uint8, uint16 or float32.
        color: whether there are three channels: what the reader knows, not to be told by the number of axes.
        grid: where the values lie.
        origin: what it was read from, or ``None`` for an array.
        notes: what reading changed, for the record: alpha composited, palette expanded, …

    Raises:
        ValueError: the pixels do not have the shape that the grid and the colour say.
    """

    pixels: Array
    color: bool
    grid: Grid
    origin: Origin | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.shape != (*self.grid.shape, *([3] if self.color else [])):
            said = "colour" if self.color else "grey values"
            raise ValueError(f"{said} on a grid of shape {self.grid.shape} cannot have the shape {self.pixels.shape}")

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels along each spatial axis: height and width of a picture."""
        return self.grid.shape

    @property
    def depth(self) -> str:
        """``uint8``, ``uint16`` or ``float32``."""
        return str(self.pixels.dtype)

    @property
    def path(self) -> Path | None:
        """The file that it was read from (of a series, its folder), or ``None``."""
        return None if self.origin is None else self.origin.path

    @property
    def name(self) -> str:
        """What messages call this image."""
        return str(self.path) if self.path is not None else "an array"

    def with_pixels(self, pixels: Array, *, color: bool) -> Image:
        """Return computed pixels on this image's grid, to be written with its header."""
        origin = None if self.origin is None else replace(self.origin, files=(), sha256="", page=None)
        return Image(pixels, color, self.grid, origin)


def full_scale(depth: str) -> float:
    """Return the value that stands for white: 255, 65535, or 1 for floats."""
    return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[depth]


def from_pixels(
    pixels: Array,
    *,
    color: bool | None = None,
    grid: Grid | None = None,
    origin: Origin | None = None,
    notes: tuple[str, ...] = (),
    finite: bool = True,
) -> Image:
    """Make an `Image` of whatever array a reader or a user gives.

    Bool, integers and floats: 8 and 16 bit unsigned integers keep their type; everything else becomes float32.

    Args:
        pixels: where ``color`` is not given, a picture: grey (H, W) or (H, W, 1), grey with alpha (H, W, 2), RGB
            (H, W, 3) or RGBA (H, W, 4). Alpha is composited over black, the background of medical images; three equal
            channels become one. Where it is given, (*spatial axes) of grey or (*spatial axes, 3) of colour.
        color: what the reader knows; nothing is then dropped.
        grid: where the values lie; ``None`` for a picture of which nothing more is known.
        origin: what it was read from.
        notes: what reading changed.
        finite: whether values that are NaN or infinite are refused; a reader leaves that to who asked it to read.

    Raises:
        InputError: not an image of these shapes, fewer than two values along an axis, values that are not finite, or an
            alpha channel whose white nobody knows.
    """
    name = str(origin.path) if origin is not None and origin.path is not None else "the array"
    said = list(notes)
    pixels = np.asarray(pixels)
    axes = 2 if grid is None else len(grid.shape)
    _check_shape(pixels, name, axes, color)
    # Of the type in which it came, which says what is opaque.
    alpha = pixels[..., -1] if color is None and pixels.ndim > axes and pixels.shape[-1] in (2, 4) else None
    pixels = _known_dtype(pixels, name, said)
    if finite:
        check_finite(pixels, name)
    if color is None:
        if alpha is not None:
            pixels = over_black(pixels[..., :-1], alpha, name, said)
        pixels = _flat_channels(pixels, said) if pixels.ndim > axes else pixels
        color = pixels.ndim > axes
    pixels = np.ascontiguousarray(pixels)
    return Image(pixels, color, grid or Grid(pixels.shape[:axes]), origin, tuple(said))


def check_finite(pixels: Array, name: str) -> None:
    """Raise `InputError` where values are NaN or infinite."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int(np.count_nonzero(~np.isfinite(pixels)))
        raise InputError(
            f"{name} holds {count} values that are NaN or infinite; --nan background takes them for background, or "
            "replace them"
        )


def with_background(image: Image, inverted: bool = False) -> Image:
    """Return an image whose values that are NaN or infinite are its background: nothing then shows there.

    Args:
        image: one that is not `check_finite`.
        inverted: whether black is white in it, so that its greatest finite value is background, and not the least one.

    Raises:
        InputError: no value is finite.
    """
    finite = np.isfinite(image.pixels)
    if finite.all():
        return image
    if not finite.any():
        raise InputError(f"{image.name} holds no finite value; check the file")
    pixels = np.where(finite, image.pixels, _background(image.pixels[finite], inverted)).astype(image.pixels.dtype)
    note = f"{int((~finite).sum())} values that are NaN or infinite taken for background"
    return replace(image, pixels=pixels, notes=(*image.notes, note))


def unmasked(pixels: Array, nan: str, inverted: bool = False) -> tuple[Array, tuple[str, ...]]:
    """Return the values of an array, the masked ones of a NumPy masked array being background, with a note of them.

    Args:
        pixels: any array.
        nan: whether masked values are refused (``refuse``) or ``background``.
        inverted: as in `with_background`.

    Raises:
        InputError: some are masked, and are to be refused, or all are.
    """
    if not isinstance(pixels, np.ma.MaskedArray):
        return np.asarray(pixels), ()
    count = int(np.ma.getmaskarray(pixels).sum())
    if not count:
        return pixels.data, ()
    seen = pixels.compressed()
    seen = seen[np.isfinite(seen)] if seen.dtype.kind == "f" else seen
    if nan == "refuse" or not seen.size:
        raise InputError(
            f"the array has {count} masked values of {pixels.size}; nan='background' takes them for background, or "
            "fill them"
        )
    return pixels.filled(_background(seen, inverted)), (f"{count} masked values taken for background",)


def _background(values: Array, inverted: bool) -> Any:
    return values.max() if inverted else values.min()


def _check_shape(pixels: Array, name: str, axes: int, color: bool | None) -> None:
    """Raise `InputError` unless the pixels have ``axes`` of at least two values, and the channels that are said."""
    spatial = {2: "height, width", 3: "slices, height, width"}.get(axes, f"{axes} axes")
    allowed: Sequence[tuple[int, ...]]
    if color is None:
        allowed, form = [(), (1,), (2,), (3,), (4,)], f"({spatial}) and ({spatial}, 1 to 4 channels)"
    else:
        allowed, form = ([(3,)], f"({spatial}, 3 channels)") if color else ([()], f"({spatial})")
    if pixels.ndim < axes or pixels.shape[axes:] not in allowed:
        raise InputError(f"{name} has shape {pixels.shape}; fusekit reads {form}")
    if min(pixels.shape[:axes]) < 2:
        unit = "pixels" if axes == 2 else "voxels"
        least = size_text([2] * axes)
        raise InputError(f"{name} is {size_text(pixels.shape[:axes])} {unit}; images need at least {least} to be fused")


def _known_dtype(pixels: Array, name: str, notes: list[str]) -> Array:
    """Return uint8, uint16 or float32 pixels, noting what was cast."""
    if pixels.dtype == np.bool_:
        notes.append("1 bit widened to 8")
        return pixels.astype(np.uint8) * 255
    native = pixels.dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16, np.float32):
        return pixels.astype(native, copy=False)
    if pixels.dtype.kind not in "iuf":
        raise InputError(f"{name} holds values of type {pixels.dtype}; fusekit reads integers and floats")
    notes.append(f"{pixels.dtype} read as float32")
    # A float64 beyond float32 becomes infinite here, and is refused as such.
    with np.errstate(over="ignore"):
        return pixels.astype(np.float32)


def over_black(pixels: Array, alpha: Array, name: str, notes: list[str]) -> Array:
    """Composite colours over black, the background of medical images.

    Args:
        pixels: (…, C), not multiplied by the alpha yet.
        alpha: (…), of integers without sign, of which the greatest is opaque, of booleans, or of floats in [0, 1].
        name: what messages call the image.
        notes: what is done is added to them.

    Raises:
        InputError: the alpha is of another type or range, or the colours have values below 0, so that 0 is not black.
    """
    if alpha.dtype.kind not in "buf":
        raise InputError(
            f"{name} has an alpha channel of type {alpha.dtype}, of which nobody knows what is opaque; leave it out, "
            "or give it as uint8, uint16 or floats in [0, 1]"
        )
    white = float(np.iinfo(alpha.dtype).max) if alpha.dtype.kind == "u" else 1.0
    if alpha.dtype.kind == "f" and not (alpha.min() >= 0 and alpha.max() <= 1):
        raise InputError(
            f"{name} has an alpha channel of floats from {alpha.min():g} to {alpha.max():g}; those of an alpha lie in "
            "[0, 1]: scale it, or leave it out"
        )
    if alpha.min() >= white:
        notes.append("opaque alpha dropped")
        return pixels
    if pixels.min() < 0:
        raise InputError(
            f"{name} is transparent in parts and holds values from {pixels.min():g}, so that nobody knows its black; "
            "leave its alpha channel out, or shift its values to 0 and above"
        )
    notes.append("alpha composited over black")

    def blended(pixels: Array, alpha: Array) -> Array:
        product = pixels * (alpha.astype(np.float64) / white)[..., None]
        return (np.rint(product) if pixels.dtype.kind == "u" else product).astype(pixels.dtype)

    return in_bands(blended, pixels, alpha)


def _flat_channels(pixels: Array, notes: list[str]) -> Array:
    """Drop channels that say nothing."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    if (pixels == pixels[..., :1]).all():
        notes.append("three equal channels read as grey")
        return pixels[..., 0]
    return pixels
