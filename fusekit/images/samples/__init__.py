"""The embedded sample: one axial slice of a head as MRI, CT and PET pictures on one grid, for trials and tests.

The pictures are 256×256 pixels of 8 bits, ``mri`` and ``ct`` grey and ``pet`` RGB. This module only names them; it
imports neither numpy nor torch. See README.md beside it for how they were made and LICENSE-ICBM152.txt for the terms.
"""

from __future__ import annotations

from pathlib import Path

from fusekit.errors import UnknownNameError

NOTICE = (
    "The sample MRI is a slice of the ICBM152 T1 template; the sample CT and PET are simulated from its tissue maps "
    "and have no clinical meaning."
)

_DATA = Path(__file__).resolve().parent / "data"
_NAMES = ("ct", "mri", "pet")


def names() -> list[str]:
    """Return the names of the sample pictures, in alphabetical order."""
    return list(_NAMES)


def path(name: str) -> Path:
    """Return the PNG file of the sample picture ``name``."""
    if name not in _NAMES:
        raise UnknownNameError("sample", name, _NAMES)
    return _DATA / f"{name}.png"


def pairs() -> dict[str, tuple[str, str]]:
    """Return the pairs worth fusing: the name of a pair to the names of its two pictures."""
    return {"ct-mri": ("ct", "mri"), "pet-mri": ("pet", "mri")}
