"""JPEG (ITU-T T.81), with several pictures too (MPO: CIPA DC-007): its markers are read here, its pixels by Pillow."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from fusekit.images.formats.decoded import Decoded, FormError, Opened, from_pillow
from fusekit.images.formats.orientation import directory, from_exif, from_xmp

_EXIF, _XMP, _ICC, _MPF, _ADOBE = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0", b"Adobe"
_START_OF_SCAN, _END = 0xDA, 0xD9
#: Markers of a frame: those of Huffman coding that libjpeg reads, and of arithmetic coding, which it may read.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_OTHER_FRAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical lossless",
    0xCB: "lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical lossless",
}
#: Markers without data.
_BARE = {0x01, *range(0xD0, 0xD9)}
#: Bytes between markers that mean nothing, as some cameras write.
_MOST_JUNK = 1 << 16
_ENTRIES = 0xB002
_GAIN_MAP = b"hdrgm:Version"


class Frame(NamedTuple):
    """What the header of a frame says: bits a value, pixels, channels."""

    bits: int
    height: int
    width: int
    channels: int


@dataclass
class _Jpeg:
    frame: Frame
    orientation: int = 1
    adobe: bool = False
    #: Where each picture lies in the file, and its bytes; one picture where nothing is said of several.
    places: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class OpenedJpeg(Opened):
    """A JPEG, or a file of several pictures (MPO), of which previews that are marked as such are none."""

    @functools.cached_property
    def _first(self) -> _Jpeg:
        return _read(self.file, 0)

    def pages(self) -> int:
        return max(len(self._first.places), 1)

    def shape(self, page: int) -> tuple[int, int, int]:
        frame = self._at(page)[0].frame
        return frame.height, frame.width, frame.channels

    def decode(self, page: int) -> Decoded:
        return _decoded(*self._at(page))

    def _at(self, page: int) -> tuple[_Jpeg, BinaryIO]:
        """Return what a picture's markers say, and a file that begins with it."""
        found = self._first
        start, size = found.places[page - 1] if found.places else (0, 0)
        if start:
            found = _read(self.file, start)
            self.file.seek(start)
            return found, io.BytesIO(self.file.read(size))
        self.file.seek(0)
        return found, self.file


def _decoded(found: _Jpeg, part: BinaryIO) -> Decoded:
    from PIL.JpegImagePlugin import JpegImageFile

    if found.frame.bits != 8:
        raise FormError(f"is a JPEG of {found.frame.bits} bits; save it as PNG or TIFF, which hold 16 bits")
    if found.frame.channels not in (1, 3, 4):
        raise FormError(f"is a JPEG of {found.frame.channels} channels; save it as grey or RGB")
    if found.frame.channels == 4 and not found.adobe:
        raise FormError("is a JPEG of four channels without Adobe's marker, which says what they are; save it as RGB")
    with JpegImageFile(part) as picture:
        picture.load()
        decoded = from_pillow(picture)
    return decoded._replace(orientation=found.orientation, notes=(*decoded.notes, *found.notes))


def frame_of(data: bytes) -> Frame:
    """Return what the frame of a JPEG stream says.

    Raises:
        FormError: it is of a form that is not read.
        ValueError: there is none.
    """
    return _read(io.BytesIO(data), 0).frame


def _read(file: BinaryIO, start: int) -> _Jpeg:
    """Read the markers of the picture that begins at ``start``, up to its pixels."""
    found: _Jpeg | None = None
    said: dict[str, int | None] = {}
    adobe, index, notes = False, None, []
    for marker, data, at in _markers(file, start):
        if marker in _OTHER_FRAMES:
            raise FormError(f"is a {_OTHER_FRAMES[marker]} JPEG; save it as PNG or TIFF")
        if marker in _FRAMES and len(data) >= 6:
            frame = Frame(*struct.unpack_from(">BHHB", data))
            if not frame.height or not frame.width:
                raise FormError("is a JPEG that does not say its height before its pixels; save it again")
            found = found or _Jpeg(frame)
        elif marker == 0xE1 and data.startswith(_EXIF):
            try:
                said.setdefault("exif", from_exif(data[len(_EXIF) :]))
            except ValueError:
                notes.append("EXIF that cannot be read left alone")
        elif marker == 0xE1 and data.startswith(_XMP):
            said.setdefault("xmp", from_xmp(data))
            if _GAIN_MAP in data:
                notes.append("gain map left out")
        elif marker == 0xE2 and data.startswith(_ICC):
            notes.append("ICC profile left alone")
        elif marker == 0xE2 and data.startswith(_MPF):
            index = (data[len(_MPF) :], at + len(_MPF))
        elif marker == 0xEE and data.startswith(_ADOBE):
            adobe = True
    if found is None:
        raise ValueError("it has no frame")
    found.orientation = said.get("exif") or said.get("xmp") or 1
    found.adobe, found.notes = adobe, list(dict.fromkeys(notes))
    if index is not None and "gain map left out" not in notes:
        try:
            found.places = _places(*index)
        except ValueError:
            found.notes.append("index of several pictures that cannot be read left alone")
    return found


def _markers(file: BinaryIO, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield each marker with its data and where these begin, up to the pixels."""
    file.seek(start)
    if file.read(2) != b"\xff\xd8":
        raise ValueError("it does not begin as a JPEG does")
    junk = 0
    while True:
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends before its pixels")
        if byte != b"\xff":
            junk += 1
            if junk > _MOST_JUNK:
                raise ValueError("it has no markers")
            continue
        while byte == b"\xff":
            byte = file.read(1)
        if not byte or byte == b"\0" or byte[0] in _BARE:
            continue
        marker = byte[0]
        if marker == _END:
            raise ValueError("it ends before its pixels")
        head = file.read(2)
        length = int.from_bytes(head, "big")
        at, data = file.tell(), file.read(max(length - 2, 0))
        if length < 2 or len(data) < length - 2:
            raise ValueError("it ends within a marker")
        if marker == _START_OF_SCAN:
            return
        yield marker, data, at


def _places(data: bytes, base: int) -> list[tuple[int, int]]:
    """Return where the pictures of a multi-picture file lie, and their bytes: all but previews.

    Args:
        data: the index, a small TIFF structure.
        base: where that begins in the file.

    Raises:
        ValueError: it is damaged.
    """
    order, values = directory(data)
    entries = values.get(_ENTRIES, b"")
    if not entries or len(entries) % 16:
        raise ValueError("its pictures are not listed")
    found = []
    for number, (attribute, size, offset) in enumerate(struct.iter_unpack(order + "III4x", entries)):
        # Class 1 of the attribute's type: large thumbnails.
        if attribute >> 16 & 0xFF != 1:
            found.append((offset + base if number else 0, size))
    return found
