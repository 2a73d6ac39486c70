"""How a picture is to be turned before it is looked at: TIFF's and EXIF's orientation tag, in XMP as well.

Exif 2.32 (CIPA DC-008), 4.6.4 "Orientation": 1 as it is stored; 2 mirrored, left to right; 3 turned by half; 4
mirrored, top to bottom; 5 rows and columns exchanged; 6 turned clockwise by a quarter; 7 exchanged and turned by half;
8 turned the other way.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np

from fusekit.images.image import Array

_TAG = 274
#: Bytes of a value, by TIFF's number of its type.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([0-9]+)")


def turned(pixels: Array, orientation: int) -> tuple[Array, tuple[str, ...]]:
    """Return pixels (H, W[, C]) as the tag says, and what to note of it; 0 says nothing."""
    if orientation in (0, 1):
        return pixels, ()
    if not 2 <= orientation <= 8:
        return pixels, (f"not turned, as its orientation tag means nothing ({orientation})",)
    # From 5 on rows and columns are exchanged first.
    across = np.swapaxes(pixels, 0, 1) if orientation >= 5 else pixels
    axes: Any = {2: 1, 3: (0, 1), 4: 0, 5: (), 6: 1, 7: (0, 1), 8: 0}[orientation]
    return np.flip(across, axes), (f"turned as its orientation tag says ({orientation})",)


def from_exif(exif: bytes) -> int | None:
    """Return the orientation that EXIF data give, without their prefix ``Exif``; ``None`` where they give none.

    Raises:
        ValueError: they are damaged.
    """
    order, values = directory(exif)
    found = values.get(_TAG, b"")
    return struct.unpack_from(order + "H", found)[0] if len(found) >= 2 else None


def from_xmp(xmp: bytes) -> int | None:
    """Return the orientation that an XMP packet gives, ``None`` where it gives none."""
    found = _XMP.search(xmp)
    return int(found[1][:6]) if found else None


def directory(data: bytes) -> tuple[str, dict[int, bytes]]:
    """Return the byte order (for `struct`) and the first directory of a small TIFF structure: tag → bytes of its value.

    Raises:
        ValueError: it is damaged.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("it has no byte order")
    values = {}
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number, where = struct.unpack_from(order + "HHII", data, entry)
            size = _SIZES.get(kind, 0) * number
            start = entry + 8 if size <= 4 else where
            values[tag] = data[start : start + size]
    except struct.error as error:
        raise ValueError(f"its directory is cut off ({error})") from error
    return order, values
