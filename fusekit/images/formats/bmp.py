"""BMP (Windows bitmaps, those of OS/2 as well): the header is checked here, the pixels are read by Pillow."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

import numpy as np

from fusekit.images.formats.decoded import Decoded, FormError, Opened, from_pillow

_BITS = (1, 4, 8, 16, 24, 32)
#: Ways of storing by their number: those whose length follows from the size, and those of runs.
_PLAIN, _RUNS = (0, 3), (1, 2)
_OTHERS = {4: "JPEG", 5: "PNG"}
#: Lengths of the headers of Windows and OS/2, bytes.
_HEADERS = (12, 40, 52, 56, 64, 108, 124)


class _Header(NamedTuple):
    width: int
    height: int
    bits: int
    compression: int
    offset: int
    colors: int
    profile: bool


class OpenedBmp(Opened):
    """A BMP."""

    def shape(self, page: int) -> tuple[int, int, int]:
        header = _read(self.file)
        return header.height, header.width, 1 if header.bits <= 8 else 3 if header.bits <= 24 else 4

    def decode(self, page: int) -> Decoded:
        return _decoded(self.file)


def _decoded(file: BinaryIO) -> Decoded:
    from PIL.BmpImagePlugin import BmpImageFile

    header = _read(file)
    if header.compression in _PLAIN:
        row = (header.width * header.bits + 31) // 32 * 4
        if header.offset + row * header.height > file.seek(0, os.SEEK_END):
            raise ValueError("it ends before its pixels do")
    file.seek(0)
    with BmpImageFile(file) as picture:
        picture.load()
        if picture.mode == "P" and int(np.asarray(picture).max()) >= header.colors:
            raise ValueError("its pixels name colours that its palette lacks")
        decoded = from_pillow(picture)
    return decoded._replace(notes=(*decoded.notes, *(["ICC profile left alone"] if header.profile else [])))


def _read(file: BinaryIO) -> _Header:
    file.seek(0)
    data = file.read(14 + max(_HEADERS))
    compression = colors = profile = 0
    try:
        offset, size = struct.unpack_from("<II", data, 10)
        if size == 12:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        elif size in _HEADERS:
            width, height, _, bits, compression, colors = struct.unpack_from("<iiHHI12xI", data, 18)
        else:
            raise FormError(f"is a BMP with a header of {size} bytes, as no program writes; save it as PNG or TIFF")
        if size == max(_HEADERS):
            (profile,) = struct.unpack_from("<I", data, 14 + 116)
    except struct.error as error:
        raise ValueError("it ends within its header") from error
    if width <= 0 or not height:
        raise ValueError(f"it says that it is {abs(height)}×{width} pixels")
    if compression in _OTHERS:
        raise FormError(f"is a BMP that holds a {_OTHERS[compression]}; save it as that")
    if compression not in (*_PLAIN, *_RUNS) or bits not in _BITS:
        raise FormError(f"is a BMP of {bits} bits in the form {compression}; save it as PNG or TIFF")
    # A height below 0 says that the rows begin at the top.
    return _Header(width, abs(height), bits, compression, offset, colors or 1 << min(bits, 8), bool(profile))
