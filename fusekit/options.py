"""Choices of fusing, each once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fusekit.errors import OptionError

BIT_DEPTHS = {"8": "uint8", "16": "uint16", "float": "float32"}


@dataclass(frozen=True)
class Options:
    """Choices of the pipeline that are not the model's.

    Attributes:
        color: ``keep`` restores the chroma of the first coloured source, ``gray`` leaves it out, ``from:N`` takes that
            of source N, counted from 1.
        resize: ``None`` refuses sources of different size, ``first`` resamples them to the first one's.
        bit_depth: ``8``, ``16`` or ``float``; ``None`` for the first source's.
        tile: ``auto`` fuses in tiles where the whole may take more than ``memory``; ``off``, or a side in pixels.
        memory: bytes, or a text such as ``2GiB``, that fusing may take beside Python and the images themselves;
            ``None`` for 2 GiB on a CPU and half of what is free on a CUDA device.
    """

    color: str = "keep"
    resize: str | None = None
    bit_depth: str | None = None
    tile: str | int = "auto"
    memory: str | int | None = None

    def __post_init__(self) -> None:
        form = self.color.partition(":")
        if self.color not in ("keep", "gray") and not (form[0] == "from" and form[2].isdigit() and int(form[2]) > 0):
            raise OptionError(f"unknown color {self.color!r}; choose keep, gray or from:N with N counted from 1")
        if self.resize not in (None, "first"):
            raise OptionError(f"unknown resize {self.resize!r}; choose first, or leave it out")
        if self.bit_depth is not None and str(self.bit_depth) not in BIT_DEPTHS:
            raise OptionError(f"unknown bit depth {self.bit_depth!r}; choose {', '.join(BIT_DEPTHS)}")
        parse_tile(self.tile)
        parse_memory(self.memory)

    def depth(self, of_first: str) -> str:
        """Return the depth to write: what was asked for, or the first source's, as ``uint8``."""
        return BIT_DEPTHS[str(self.bit_depth)] if self.bit_depth is not None else of_first


_UNITS = {"": 1, "B": 1} | {
    f"{letter}{infix}B": base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("KMGT", start=1)
}


def parse_memory(given: str | int | None) -> int | None:
    """Return a number of bytes: an integer, or a text such as ``2GiB``, ``1.5 GB`` or ``800MiB``.

    Raises:
        OptionError: it is not such an amount, or not above 0.
    """
    if given is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?i?B?)\s*", str(given), re.IGNORECASE)
    units = {unit.lower(): size for unit, size in _UNITS.items()}
    unit = found[2].lower() if found else "?"
    unit = unit if unit.endswith("b") or not unit else f"{unit}b"
    if found is None or unit not in units or not int(float(found[1]) * units[unit]):
        raise OptionError(f"{given!r} is not an amount of memory; give it as 2GiB, 800MiB or a number of bytes")
    return int(float(found[1]) * units[unit])


def parse_tile(given: str | int) -> str | int:
    """Return ``auto``, ``off`` or the side of tiles in pixels.

    Raises:
        OptionError: it is none of these, or a side below 16.
    """
    if given in ("auto", "off"):
        return given
    if not str(given).isdigit() or int(given) < 16:
        raise OptionError(f"{given!r} is no choice of tiles; choose auto, off, or a side of 16 pixels or more")
    return int(given)
