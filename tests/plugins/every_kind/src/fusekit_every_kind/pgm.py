"""A format: portable graymaps (PGM), as the Netpbm programs write them in binary."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from fusekit.extend import Format, Image, InputError, Origin, from_pixels

_HEADER = re.compile(rb"P5(?:\s+|\s*#[^\n]*\n)+(\d+)\s+(\d+)\s+(\d+)\s")


class Pgm(Format):
    """8 or 16 bits of grey behind the header ``P5 width height maximum``, the high byte first."""

    colors = False

    def sniff(self, path: Path, start: bytes) -> bool:
        return _HEADER.match(start) is not None

    def read(self, path: Path) -> Image:
        data = path.read_bytes()
        header = _HEADER.match(data)
        if header is None:
            raise InputError(f"{path} has no header of a PGM file; restore it from the original")
        width, height, maximum = map(int, header.groups())
        stored = np.dtype("u1" if maximum < 256 else ">u2")
        wanted, found = width * height * stored.itemsize, len(data) - header.end()
        if found != wanted:
            raise InputError(f"{path} holds {found} bytes of pixels instead of {wanted}; restore it from the original")
        pixels = np.frombuffer(data, stored, offset=header.end()).reshape(height, width)
        origin = Origin((path,), hashlib.sha256(data).hexdigest(), "pgm")
        return from_pixels(pixels, color=False, origin=origin)

    def depths(self, extension: str) -> tuple[str, ...]:
        return ("uint8", "uint16")

    def encode(self, image: Image, extension: str) -> bytes:
        height, width = image.size
        stored, maximum = ("u1", 255) if image.depth == "uint8" else (">u2", 65535)
        return f"P5\n{width} {height}\n{maximum}\n".encode() + image.pixels.astype(stored).tobytes()
