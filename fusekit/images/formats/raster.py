"""PNG, TIFF, JPEG and BMP: 8 and 16 bit, float TIFF, grey, RGB, CMYK, palette, alpha, pages, orientation.

Which of them a file is, is told by its first bytes, never by its name. Each has a module of its own, which tells how
many images there are and how large they are without decoding them, and never takes more memory than that.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

from fusekit.errors import FusekitError, InputError
from fusekit.images.formats.base import Format
from fusekit.images.formats.bmp import OpenedBmp
from fusekit.images.formats.decoded import FormError, Opened
from fusekit.images.formats.jpeg import OpenedJpeg
from fusekit.images.formats.orientation import turned
from fusekit.images.formats.png import SIGNATURE, OpenedPng
from fusekit.images.formats.tiff import OpenedTiff
from fusekit.images.image import Image, Origin, from_pixels, over_black
from fusekit.machine.files import sha256_of

_SIGNATURES = (
    (SIGNATURE, "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
)
_OPENERS: dict[str, type[Opened]] = {"PNG": OpenedPng, "TIFF": OpenedTiff, "JPEG": OpenedJpeg, "BMP": OpenedBmp}
_DEPTHS_OF = {
    ".png": ("uint8", "uint16"),
    ".tif": ("uint8", "uint16", "float32"),
    ".tiff": ("uint8", "uint16", "float32"),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".bmp": ("uint8",),
}


class OpenedRaster:
    """An open file and its decoder."""

    def __init__(self, path: Path, decoder: Opened) -> None:
        self._path, self._decoder = path, decoder

    def pages(self) -> int:
        """Return how many images the file holds."""
        return self._decoder.pages()

    def shape_of(self, page: int) -> tuple[int, ...]:
        """Return height, width and channels, as they are stored."""
        return self._decoder.shape(page)

    def read_page(self, page: int) -> Image:
        """Read one image; values that are not finite are left to whoever asked for it."""
        found = self._decoder.decode(page)
        notes, pixels = list(found.notes), found.pixels
        if found.alpha is not None:
            colors = pixels if pixels.ndim == 3 else pixels[..., None]
            pixels = over_black(colors, found.alpha, str(self._path), notes)
        pixels, of_turning = turned(pixels, found.orientation)
        origin = Origin((self._path,), sha256_of(self._path), "raster")
        return from_pixels(pixels, origin=origin, notes=(*notes, *of_turning), finite=False)


class Raster(Format):
    """PNG, TIFF, JPEG and BMP."""

    def sniff(self, path: Path, start: bytes) -> bool:
        """Return whether the file begins as one of the four does."""
        return _kind_of(start) is not None

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[OpenedRaster]:
        """Give an open file, of which pages and shape can be asked before the pixels are read.

        Raises:
            InputError: it is none of the four, damaged, or of a form that is not read.
        """
        with path.open("rb") as file:
            kind = _kind_of(file.read(8))
            if kind is None:
                raise InputError(f"{path} is no PNG, TIFF, JPEG or BMP file; check the file")
            with _refusing(path, kind), contextlib.closing(_OPENERS[kind](file)) as decoder:
                yield OpenedRaster(path, decoder)

    def pages(self, path: Path) -> int:
        """Return how many images the file holds; thumbnails are none."""
        with self.opened(path) as file:
            return file.pages()

    def shape_of(self, path: Path, page: int = 1) -> tuple[int, ...]:
        """Return height, width and channels, as they are stored."""
        with self.opened(path) as file:
            return file.shape_of(page)

    def read(self, path: Path) -> Image:
        """Read the image of a file, or its first."""
        return self.read_page(path, 1)

    def read_page(self, path: Path, page: int) -> Image:
        """Read one image.

        Raises:
            InputError: damaged, of a form that is not read, or too small.
        """
        with self.opened(path) as file:
            return file.read_page(page)

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


@contextlib.contextmanager
def _refusing(path: Path, kind: str) -> Iterator[None]:
    """Turn what decoders raise into one `InputError` that names the file."""
    try:
        yield
    except FormError as refusal:
        raise InputError(f"{path} {refusal}") from refusal
    except (FusekitError, MemoryError):
        raise
    # Decoders raise whatever a damaged file makes them raise, struct.error and codec errors included; Pillow's are of
    # the operating system's kind, without a number.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _damaged(path, kind, error) from error


def _damaged(path: Path, kind: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if any(word in reason.lower() for word in ("unsupported", "not supported", "cannot handle")):
        return InputError(f"{path} is a {kind} file of a form that fusekit does not read ({reason}); save it otherwise")
    return InputError(f"{path} is a damaged {kind} file ({reason}); restore it from the original")
