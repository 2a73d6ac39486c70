"""Which images a TIFF file holds: directories in a chain, planes behind or within one of them, but no thumbnails.

TIFF 6.0, BigTIFF, and how ImageJ, MetaMorph, NIH Image and tifffile keep a stack in one directory.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any, NamedTuple

#: NewSubfileType: a reduced version of another image, or its mask.
_REDUCED, _MASK = 1, 4
_IMAGEJ = re.compile(r"^images=([0-9]{1,9})\s*$", re.MULTILINE)
_SHAPED = re.compile(r'(?:^\{"shape":\s*\[|^shape=\()([0-9,\s]+)[\])]')
_TRUNCATED = re.compile(r'"truncated":\s*true')
_UIC1, _UIC2, _NIH = 33628, 33629, 43314


class Place(NamedTuple):
    """Where an image lies.

    Attributes:
        index: of the directory in the chain; a second number where it is a part of that one (SubIFD).
        plane: which of the planes that this directory tells of.
        note: what is to be said of it, or empty.
    """

    index: tuple[int, ...]
    plane: int = 0
    note: str = ""


def places(tiff: Any) -> list[Place]:
    """Return where the images of an open `tifffile.TiffFile` lie, in the order of the file.

    Raises:
        ValueError: it ends before they do.
    """
    chain = list(enumerate(tiff.pages))
    if not chain:
        raise ValueError("it has no directory")
    if _next_of(tiff, chain[-1][1]):
        raise ValueError("the chain of its directories is broken")
    found: list[tuple[tuple[int, ...], Any]] = [((number,), page) for number, page in chain if _is_whole(page)]
    if not found:
        parts = [(number, list(page.pages)) for number, page in chain if page.pages is not None]
        found = [((n, m), page) for n, inner in parts for m, page in enumerate(inner) if _is_whole(page)]
    if not found:
        note = "the file says that it is a reduced version of another image"
        return [Place((number,), note=note) for number, _ in chain]
    return [place for index, page in found for place in _planes(tiff, index, page, alone=len(found) == 1)]


def page_at(tiff: Any, place: Place) -> Any:
    """Return the directory of an image, as a `tifffile.TiffPage` whose data are those of the image's plane.

    Where the planes are axes of the directory itself (``imagedepth``), its pixels are those of all planes.
    """
    page = tiff.pages[place.index[0]]
    if len(place.index) > 1:
        page = page.pages[place.index[1]]
    if place.plane and page.imagedepth == 1:
        page.dataoffsets = tuple(offset + place.plane * page.nbytes for offset in page.dataoffsets)
    return page


def _is_whole(page: Any) -> bool:
    return not page.subfiletype & (_REDUCED | _MASK)


def _planes(tiff: Any, index: tuple[int, ...], page: Any, *, alone: bool) -> list[Place]:
    """Return a place for each plane that a directory tells of."""
    if page.imagedepth > 1:
        return [Place(index, plane) for plane in range(page.imagedepth)]
    said = _said(page, alone)
    if said <= 1:
        return [Place(index)]
    if not page.is_contiguous:
        # Nobody packs several planes into one directory: the description is that of another file.
        return [Place(index, note=f"its description says {said} images, and it holds one")]
    if page.dataoffsets[0] + said * page.nbytes > tiff.filehandle.size:
        raise ValueError(f"it says that it holds {said} images, and ends before")
    return [Place(index, plane) for plane in range(said)]


def _said(page: Any, alone: bool) -> int:
    """Return how many planes lie one behind the other, by what the directory says."""
    for text in (page.description, page.description1):
        if alone and text.startswith("ImageJ="):
            images = _IMAGEJ.search(text)
            return int(images[1]) if images else 1
        shape = _SHAPED.match(text)
        if shape and (alone or _TRUNCATED.search(text)):
            values = math.prod(int(number[:12]) for number in re.findall("[0-9]+", shape[1]))
            return values // max(math.prod(page.shape), 1)
    if alone and _UIC1 in page.tags and _UIC2 in page.tags:
        return int(page.tags[_UIC2].count)
    header = page.tags.valueof(_NIH)
    return int(header.get("NSlices", 1)) if alone and isinstance(header, dict) else 1


def _next_of(tiff: Any, page: Any) -> int:
    """Return the offset of the directory behind one, 0 where the chain ends."""
    file, form = tiff.filehandle, tiff.tiff
    try:
        file.seek(page.offset)
        (count,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
        file.seek(page.offset + form.tagnosize + count * form.tagsize)
        return int(struct.unpack(form.offsetformat, file.read(form.offsetsize))[0])
    except struct.error as error:
        raise ValueError("it ends within its directory") from error
