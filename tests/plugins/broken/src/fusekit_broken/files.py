"""Formats and aligners, each broken in one way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fusekit.extend import Aligner, Format, Image


class WrongThing(Format):
    """Returns the bytes of the file."""

    def sniff(self, path: Path, start: bytes) -> bool:
        return start.startswith(b"WRONG")

    def read(self, path: Path) -> Any:
        return path.read_bytes()

    def encode(self, image: Image, extension: str) -> Any:
        return image.pixels


class Exits(WrongThing):
    """Ends the process as if all were well."""

    def sniff(self, path: Path, start: bytes) -> bool:
        return start.startswith(b"EXITS")

    def read(self, path: Path) -> Any:
        sys.exit(0)


class AnotherGrid(Aligner):
    """Leaves the image where it is."""

    def align(self, moving: Image, fixed: Image) -> Any:
        return moving, None


class AligningExits(Aligner):
    """Ends the process as if all were well."""

    def align(self, moving: Image, fixed: Image) -> Any:
        sys.exit(0)


class AligningMutates(Aligner):
    """Blackens the image that others read too."""

    def align(self, moving: Image, fixed: Image) -> Any:
        fixed.pixels[...] = 0
        return fixed, None
