"""Image files made by hand and by other programs' libraries, for tests of what is read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image as Pillow

from fusekit.images.files import read_image
from fusekit.images.image import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pillow_bytes(pixels: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    """Return the bytes of a file that Pillow writes."""
    buffer = io.BytesIO()
    picture = Pillow.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_bytes(pixels: np.ndarray, **options: Any) -> bytes:
    """Return the bytes of a file that tifffile writes."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def read_bytes(folder: Path, data: bytes | bytearray, name: str = "image.bin", **choices: Any) -> Image:
    """Write bytes to a file and read it."""
    path = folder / name
    path.write_bytes(data)
    return read_image(path, **choices)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(
    size: tuple[int, int], bits: int, kind: int, raw: bytes, before: Sequence[bytes] = (), after: Sequence[bytes] = ()
) -> bytes:
    """Return a PNG made by hand.

    Args:
        size: height and width.
        bits, kind: of its header.
        raw: the rows, each with its filter's byte.
        before, after: further chunks on either side of the pixels.
    """
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], bits, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(raw, 9))
    return b"".join([SIGNATURE, header, *before, data, *after, chunk(b"IEND", b"")])


def rows_of(pixels: np.ndarray, bits: int = 8) -> bytes:
    """Return the unfiltered rows of a PNG: integers (H, W[, C]) packed to so many bits."""
    flat = pixels.reshape(pixels.shape[0], -1)
    if bits == 16:
        packed = flat.astype(">u2").view(np.uint8)
    elif bits == 8:
        packed = flat.astype(np.uint8)
    else:
        each = np.unpackbits(flat.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        packed = np.packbits(each.reshape(flat.shape[0], -1), axis=-1)
    return b"".join(b"\0" + bytes(row) for row in packed)


def with_chunks(png: bytes, *chunks: bytes, last: bool = False) -> bytes:
    """Return a PNG with further chunks behind its header, or before its end."""
    at = len(png) - 12 if last else len(SIGNATURE) + 25
    return png[:at] + b"".join(chunks) + png[at:]


def exif_of(orientation: int) -> bytes:
    """Return EXIF data, without their prefix, that hold an orientation alone."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def tiff_of(tags: Mapping[int, tuple[str, Sequence[int]]], data: bytes, big_endian: bool = False) -> bytes:
    """Return a TIFF of one directory made by hand; its strips' tags are added where they are not given.

    Args:
        tags: number → type (``B`` byte, ``H`` short, ``I`` long, ``2I`` rational as its integers) and values.
        data: one strip.
        big_endian: the order of bytes.
    """
    order, kinds = ">" if big_endian else "<", {"B": 1, "H": 3, "I": 4, "2I": 5}
    places = {273: ("I", (8,)), 278: ("I", tags[257][1]), 279: ("I", (len(data),))}
    everything = dict(sorted({**places, **tags}.items()))
    start = 8 + len(data) + len(data) % 2
    behind = start + 2 + 12 * len(everything) + 4
    entries, extra = b"", b""
    for tag, (kind, values) in everything.items():
        packed = struct.pack(f"{order}{len(values)}{kind[-1]}", *values)
        count = len(values) // (2 if kind == "2I" else 1)
        if len(packed) > 4:
            packed, extra = struct.pack(order + "I", behind + len(extra)), extra + packed + bytes(len(packed) % 2)
        entries += struct.pack(order + "HHI", tag, kinds[kind], count) + packed.ljust(4, b"\0")
    head = (b"MM" if big_endian else b"II") + struct.pack(order + "HI", 42, start)
    number = struct.pack(order + "H", len(everything))
    return head + data.ljust(start - 8, b"\0") + number + entries + bytes(4) + extra


def plain_tags(size: tuple[int, int], photometric: int, channels: int = 1, bits: int = 8) -> dict[int, Any]:
    """Return the tags of an uncompressed picture."""
    return {
        256: ("I", (size[1],)),
        257: ("I", (size[0],)),
        258: ("H", (bits,) * channels),
        259: ("H", (1,)),
        262: ("H", (photometric,)),
        277: ("H", (channels,)),
    }
