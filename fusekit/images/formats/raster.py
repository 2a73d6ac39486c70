"""PNG, TIFF, JPEG and BMP: 8 and 16 bit, float TIFF, grey, RGB, CMYK, palette, alpha, pages, orientation.

Which of them a file is, is told by its first bytes, never by its name. Each has a module of its own, which tells how
many images there are and how large they are without decoding them, and never takes more memory than that.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, TypeVar

from fusekit.errors import InputError
from fusekit.images.formats import bmp, jpeg, png, tiff
from fusekit.images.formats.base import Format
from fusekit.images.formats.decoded import Decoded, FormError
from fusekit.images.formats.orientation import turned
from fusekit.images.image import Image, Origin, from_pixels, over_black
from fusekit.machine.files import sha256_of

_SIGNATURES = (
    (png.SIGNATURE, "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
)
_DECODERS: dict[str, ModuleType] = {"PNG": png, "TIFF": tiff, "JPEG": jpeg, "BMP": bmp}
_DEPTHS_OF = {
    ".png": ("uint8", "uint16"),
    ".tif": ("uint8", "uint16", "float32"),
    ".tiff": ("uint8", "uint16", "float32"),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".bmp": ("uint8",),
}
_Told = TypeVar("_Told")


class Raster(Format):
    """PNG, TIFF, JPEG and BMP."""

    def sniff(self, path: Path, start: bytes) -> bool:
        """Return whether the file begins as one of the four does."""
        return _kind_of(start) is not None

    def pages(self, path: Path) -> int:
        """Return how many images the file holds; thumbnails are none."""
        return _told(path, lambda decoder, file: int(decoder.pages(file)))

    def shape_of(self, path: Path, page: int = 1) -> tuple[int, ...]:
        """Return height, width and channels, as they are stored."""
        return _told(path, lambda decoder, file: tuple(decoder.shape(file, page)))

    def read(self, path: Path) -> Image:
        """Read the image of a file, or its first."""
        return self.read_page(path, 1)

    def read_page(self, path: Path, page: int) -> Image:
        """Read one image.

        Raises:
            InputError: damaged, of a form that is not read, too small, or not finite.
        """
        found = _told(path, lambda decoder, file: _decoded(decoder, file, page))
        notes, pixels = list(found.notes), found.pixels
        if found.alpha is not None:
            colors = pixels if pixels.ndim == 3 else pixels[..., None]
            pixels = over_black(colors, found.alpha, str(path), notes)
        pixels, of_turning = turned(pixels, found.orientation)
        origin = Origin((path,), sha256_of(path), "raster")
        return from_pixels(pixels, origin=origin, notes=(*notes, *of_turning), finite=False)

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


def _decoded(decoder: ModuleType, file: BinaryIO, page: int) -> Decoded:
    found: Decoded = decoder.decode(file, page)
    return found


def _told(path: Path, told: Callable[[ModuleType, BinaryIO], _Told]) -> _Told:
    """Return what a decoder tells of a file.

    Raises:
        InputError: the file is none of the four, damaged, or of a form that is not read.
    """
    with path.open("rb") as file:
        kind = _kind_of(file.read(8))
        if kind is None:
            raise InputError(f"{path} is no PNG, TIFF, JPEG or BMP file; check the file")
        try:
            return told(_DECODERS[kind], file)
        except FormError as refusal:
            raise InputError(f"{path} {refusal}") from refusal
        except (InputError, MemoryError, OSError) as error:
            # Pillow's errors are of the operating system's kind, without a number.
            if not isinstance(error, OSError) or error.errno is not None:
                raise
            raise _damaged(path, kind, error) from error
        # Decoders raise whatever a damaged file makes them raise, struct.error and codec errors included.
        except Exception as error:
            raise _damaged(path, kind, error) from error


def _damaged(path: Path, kind: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if any(word in reason.lower() for word in ("unsupported", "not supported", "cannot handle")):
        return InputError(f"{path} is a {kind} file of a form that fusekit does not read ({reason}); save it otherwise")
    return InputError(f"{path} is a damaged {kind} file ({reason}); restore it from the original")
