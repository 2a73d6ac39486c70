"""PNG, TIFF, JPEG and BMP: 8 and 16 bit, float TIFF, grey, RGB, palette, alpha.

Which of them a file is, is told by its first bytes, never by its name.
"""

from __future__ import annotations

import io
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fusekit.errors import InputError
from fusekit.images.formats.base import Format
from fusekit.images.image import Array, Image, Origin, from_pixels

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
)
_PNG_END = b"IEND\xaeB`\x82"


class Raster(Format):
    """PNG, TIFF, JPEG and BMP."""

    def sniff(self, path: Path, start: bytes) -> bool:
        """Return whether the file begins as one of the four does."""
        return _kind_of(start) is not None

    def read(self, path: Path) -> Image:
        """Read one image file.

        Raises:
            InputError: damaged, of several pages, too small, or not finite.
        """
        import hashlib

        data = path.read_bytes()
        kind = _kind_of(data)
        if kind is None:
            raise InputError(f"{path} is no PNG, TIFF, JPEG or BMP file; check the file")
        too_large = _too_large()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", category=too_large[0])
                pixels, notes = _DECODERS[kind](data)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except too_large as error:
            raise InputError(
                f"{path} has more pixels than fusekit opens ({error}); resample or cut it first"
            ) from error
        # Decoders raise whatever a damaged file makes them raise, struct.error and codec errors included.
        except Exception as error:
            raise InputError(
                f"{path} is a damaged {kind} file ({_first_line(error)}); restore it from the original"
            ) from error
        origin = Origin((path,), hashlib.sha256(data).hexdigest(), "raster")
        return from_pixels(pixels, origin=origin, notes=notes, finite=False)

    def depths(self, extension: str) -> tuple[str, ...]:
        """Return the depths that files of this extension hold."""
        return _DEPTHS_OF[extension]

    def encode(self, image: Image, extension: str) -> bytes:
        """Return the bytes of an image file of this extension."""
        pixels = image.pixels
        buffer = io.BytesIO()
        if extension in (".tif", ".tiff"):
            import tifffile

            photometric = "rgb" if image.color else "minisblack"
            tifffile.imwrite(buffer, pixels, photometric=photometric, compression="zlib", software="fusekit")
        elif extension == ".png" and pixels.dtype == "uint16":
            import imagecodecs

            buffer.write(imagecodecs.png_encode(pixels))
        else:
            from PIL import Image as Pillow

            if extension in (".jpg", ".jpeg"):
                Pillow.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
            else:
                Pillow.fromarray(pixels).save(buffer, extension[1:].upper())
        return buffer.getvalue()


def _kind_of(start: bytes) -> str | None:
    return next((kind for signature, kind in _SIGNATURES if start.startswith(signature)), None)


def _too_large() -> tuple[type[Warning], type[Exception]]:
    """Return what Pillow says of images so large that a small file may exhaust the memory."""
    from PIL import Image as Pillow

    return Pillow.DecompressionBombWarning, Pillow.DecompressionBombError


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _decode_png(data: bytes) -> tuple[Array, tuple[str, ...]]:
    # Decoders stop reading where the pixels end and would not miss it.
    if _PNG_END not in data:
        raise ValueError("it ends before its last chunk")
    # Bytes 24 and 25 of a PNG are its bit depth and colour type; Pillow would cut 16-bit colour and grey+alpha to 8.
    if len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6):
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(data)), ()
    return _decode_with_pillow(data)


def _decode_with_pillow(data: bytes) -> tuple[Array, tuple[str, ...]]:
    """Decode what Pillow reads without loss."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    notes: list[str] = []
    with Pillow.open(io.BytesIO(data)) as opened:
        if getattr(opened, "n_frames", 1) > 1:
            raise InputError(f"it holds {opened.n_frames} images; save the one to fuse as a file of its own")
        opened.load()
        picture: Any = ImageOps.exif_transpose(opened)
        if picture.mode in ("P", "PA"):
            notes.append("palette expanded")
            picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
        elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            notes.append(f"{picture.mode} converted to RGB")
            picture = picture.convert("RGB")
        elif picture.mode in ("L", "RGB") and "transparency" in picture.info:
            picture = picture.convert("RGBA" if picture.mode == "RGB" else "LA")
        pixels = np.asarray(picture)
    if picture.mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)
    return pixels, tuple(notes)


def _decode_tiff(data: bytes) -> tuple[Array, tuple[str, ...]]:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        if len(tiff.pages) != 1:
            raise InputError(f"it holds {len(tiff.pages)} pages; save the one to fuse as a file of its own")
        page: Any = tiff.pages[0]
        _check_extent(page, len(data))
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return _decode_with_pillow(data)
        pixels = np.asarray(page.asarray())
        if page.axes.startswith("S"):
            pixels = np.moveaxis(pixels, 0, -1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            return _inverted(pixels), ("white-is-zero inverted",)
    return pixels, ()


def _check_extent(page: Any, length: int) -> None:
    """Raise for a size that the file cannot have: decoders would fill up with zeros whatever they do not find."""
    from PIL import Image as Pillow

    most = (Pillow.MAX_IMAGE_PIXELS or sys.maxsize) * min(page.samplesperpixel, 4)
    if page.size > most or math.prod(page.chunks) > most:
        raise ValueError(f"it says that it holds {page.size} values")
    if math.prod(page.chunked) != len(page.dataoffsets):
        raise ValueError("it lacks parts of its pixels")
    if any(start + count > length for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)):
        raise ValueError("it ends before its pixels do")


def _inverted(pixels: Array) -> Array:
    if pixels.dtype.kind == "b":
        return ~pixels
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else pixels.max()
    return np.asarray(top - pixels, dtype=pixels.dtype)


_DECODERS = {"PNG": _decode_png, "TIFF": _decode_tiff, "JPEG": _decode_with_pillow, "BMP": _decode_with_pillow}
_DEPTHS_OF = {
    ".png": ("uint8", "uint16"),
    ".tif": ("uint8", "uint16", "float32"),
    ".tiff": ("uint8", "uint16", "float32"),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".bmp": ("uint8",),
}
