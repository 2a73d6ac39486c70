"""Which images a TIFF file holds: directories in a chain, planes behind or within one of them, but no thumbnails.

TIFF 6.0, BigTIFF, and how ImageJ, MetaMorph, NIH Image and tifffile keep a stack in one directory.
"""

from __future__ import annotations

import copy
import math
import re
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

#: NewSubfileType: a reduced version of another image, or its mask.
_REDUCED, _MASK = 1, 4
_IMAGEJ = re.compile(r"^images=([0-9]{1,9})\s*$", re.MULTILINE)
_SHAPED = re.compile(r'(?:\{[^[\]]*"shape":\s*\[|shape=\()([0-9,\s]+)[\])]')
_TRUNCATED = re.compile(r'"truncated":\s*true')
_NEW_SUBFILE, _SUBFILE, _UIC1, _UIC2, _NIH = 254, 255, 33628, 33629, 43314
_MOST_TAGS = 4096


class Place(NamedTuple):
    """A directory that tells of images.

    Attributes:
        directory: number of it in the chain; a second number where it is a part of that one (SubIFD).
        planes: how many images it tells of.
        note: what is to be said of them, or empty.
    """

    directory: tuple[int, ...]
    planes: int = 1
    note: str = ""


def places(tiff: Any) -> list[Place]:
    """Return which directories of an open `tifffile.TiffFile` tell of images, in the order of the file.

    Raises:
        ValueError: it ends before they do.
    """
    chain = _chain(tiff)
    found: list[tuple[int, ...]] = [(number,) for number, kind in enumerate(chain) if not kind & (_REDUCED | _MASK)]
    if not found:
        parts = [(number, list(tiff.pages[number].pages or ())) for number in range(len(chain))]
        found = [(n, m) for n, inner in parts for m, page in enumerate(inner) if not page.subfiletype & _REDUCED]
    if not found:
        note = "the file says that it is a reduced version of another image"
        return [Place((number,), note=note) for number in range(len(chain))]
    return [_place(tiff, directory, alone=len(found) == 1) for directory in found]


def page_at(tiff: Any, found: Sequence[Place], number: int) -> tuple[Any, int, str]:
    """Return where one of the images of `places` lies.

    Args:
        tiff: the open file.
        found: its places.
        number: of the image, from 1.

    Returns:
        the directory, as a `tifffile.TiffPage` whose data are those of the image; which of its planes the image is,
        where they can only be read together (``imagedepth``), and else 0; and what is to be said of it.
    """
    plane, rest = number - 1, iter(found)
    place = next(rest)
    while plane >= place.planes:
        plane, place = plane - place.planes, next(rest)
    page = _page(tiff, place.directory)
    if page.imagedepth > 1:
        return page, plane, place.note
    if plane:
        page = copy.copy(page)
        page.dataoffsets = tuple(offset + plane * page.nbytes for offset in page.dataoffsets)
    return page, 0, place.note


def _page(tiff: Any, directory: tuple[int, ...]) -> Any:
    page = tiff.pages[directory[0]]
    return page if len(directory) == 1 else page.pages[directory[1]]


def _place(tiff: Any, directory: tuple[int, ...], *, alone: bool) -> Place:
    page = _page(tiff, directory)
    if page.imagedepth > 1:
        return Place(directory, int(page.imagedepth))
    said = _said(page, alone)
    if said <= 1:
        return Place(directory)
    if not page.is_contiguous:
        # Nobody packs several planes into one directory: the description is that of another file.
        return Place(directory, note=f"its description says {said} images, and it holds one")
    if page.dataoffsets[0] + said * page.nbytes > tiff.filehandle.size:
        raise ValueError(f"it says that it holds {said} images, and ends before")
    return Place(directory, said)


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
    return int(header.get("nSlices", 1)) if alone and isinstance(header, dict) else 1


def _chain(tiff: Any) -> list[int]:
    """Return what kind of image each directory of the chain holds: NewSubfileType, or what SubfileType says of it.

    Raises:
        ValueError: the chain is broken, or leads back into itself.
    """
    file, form = tiff.filehandle, tiff.tiff
    found: dict[int, int] = {}
    try:
        file.seek(4 if form.version == 42 else 8)
        offset = _number(file, form.offsetformat)
        while offset:
            if offset in found:
                raise ValueError("the chain of its directories leads back into itself")
            file.seek(offset)
            count = _number(file, form.tagnoformat)
            if count > _MOST_TAGS:
                raise ValueError(f"a directory of it says that it has {count} entries")
            found[offset] = _kind(file.read(count * form.tagsize), form)
            offset = _number(file, form.offsetformat)
    except struct.error as error:
        raise ValueError("the chain of its directories is broken") from error
    if not found:
        raise ValueError("it has no directory")
    return list(found.values())


def _number(file: Any, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _kind(entries: bytes, form: Any) -> int:
    """Return the kind of image that a directory's entries tell."""
    order, kinds = form.byteorder, {}
    for start in range(0, len(entries), form.tagsize):
        tag, kind = struct.unpack_from(order + "HH", entries, start)
        if tag in (_NEW_SUBFILE, _SUBFILE):
            at = start + form.tagsize - form.offsetsize
            kinds[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), entries, at)[0]
    return int(kinds.get(_NEW_SUBFILE) or (_REDUCED if kinds.get(_SUBFILE) == 2 else 0))
