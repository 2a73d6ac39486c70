"""PNG: its chunks are checked here, and only those that hold pixels are handed to a decoder.

PNG (Portable Network Graphics) Specification, third edition. Texts, profiles and gamma are never decompressed or
applied: pixels are those that are stored.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from fusekit.images.formats.decoded import Decoded, FormError, Opened, from_pillow
from fusekit.images.formats.orientation import from_exif, from_xmp
from fusekit.images.image import Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_FRAMES = (b"acTL", b"fcTL", b"fdAT")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_KEPT = (*_PIXELS, *_FRAMES, *_TEXTS, b"tRNS", b"eXIf", b"iCCP", b"gAMA")
#: First column and row, and steps, of the passes of an interlaced image.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
#: A text or EXIF block of more bytes says nothing of the orientation.
_LONGEST_TEXT = 1 << 20
_STEP = 1 << 18
_XMP, _EXIF = b"XML:com.adobe.xmp", (b"Raw profile type exif", b"Raw profile type APP1")


@dataclass
class _Png:
    """What the chunks say; sizes in pixels, data as they are stored."""

    width: int
    height: int
    bits: int
    kind: int
    interlaced: bool
    palette: bytes = b""
    transparency: bytes = b""
    data: list[bytes] = field(default_factory=list)
    frames: int = 0
    still_is_frame: bool = False
    orientation: int = 1
    notes: list[str] = field(default_factory=list)

    @property
    def pages(self) -> int:
        """Images of the file: the frames of an animation, and the still where it is none of them."""
        return self.frames + (not self.still_is_frame) if self.frames else 1

    @property
    def size(self) -> int:
        """Bytes of the decompressed pixels, with a byte for the filter of each row."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, across, down in passes:
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if width > 0 and height > 0:
                total += height * (1 + (width * self.bits * _CHANNELS[self.kind] + 7) // 8)
        return total


class OpenedPng(Opened):
    """A PNG, or an animation (APNG), whose images are all shown on one canvas."""

    @functools.cached_property
    def _head(self) -> _Png:
        return _read(self.file, whole=False)

    def pages(self) -> int:
        return self._head.pages

    def shape(self, page: int) -> tuple[int, int, int]:
        return self._head.height, self._head.width, _CHANNELS[self._head.kind]

    def decode(self, page: int) -> Decoded:
        found = _read(self.file, whole=True)
        # The first image is read for itself; others build on those before.
        decoded = _still(found) if page == 1 else _frame(self.file, found, page)
        return decoded._replace(orientation=found.orientation, notes=(*decoded.notes, *found.notes))


def _read(file: BinaryIO, *, whole: bool) -> _Png:
    """Read what the chunks say: all of them, or those before the pixels."""
    file.seek(len(SIGNATURE))
    found: _Png | None = None
    orientations: dict[str, int | None] = {}
    left = 0
    for name, length in _chunks(file):
        if found is None:
            found = _header(name, _data(file, name, length, 13))
            left = 2 * found.size + _LONGEST_TEXT
        elif name == b"IDAT":
            if not whole:
                break
            left -= length
            if left < 0:
                raise ValueError("its data are more than its size says")
            found.data.append(_data(file, name, length, length))
        elif name == b"PLTE":
            found.palette = _data(file, name, length, 768)
        elif name == b"tRNS":
            found.transparency = _data(file, name, length, 256)
        elif name == b"acTL":
            (found.frames,) = struct.unpack_from(">I", _data(file, name, length, 8))
        elif name == b"fcTL":
            found.still_is_frame = found.still_is_frame or not found.data
        elif name == b"IEND":
            _data(file, name, length, 0)
        elif whole:
            _further(file, name, length, found, orientations)
    assert found is not None
    if whole and not found.data:
        raise ValueError("it holds no pixels")
    given = [orientations.get(source) for source in ("exif", "profile", "xmp")]
    found.orientation = next((each for each in given if each is not None), 1)
    return found


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and length of each chunk while the file stands at its data."""
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it ends before its last chunk")
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if length >= 1 << 31 or not (name.isascii() and name.isalpha()):
            raise ValueError("it has a chunk that is none")
        if name not in _KEPT and name[:1].isupper():
            raise FormError(
                f"has a chunk {name.decode()} that is not of the standard; save it as PNG by another program"
            )
        start = file.tell()
        yield name, length
        file.seek(start + length + 4)
        if name == b"IEND":
            return


def _data(file: BinaryIO, name: bytes, length: int, most: int) -> bytes:
    """Return the bytes of a chunk, checked."""
    if length > most:
        raise ValueError(f"its chunk {name.decode()} has {length} bytes")
    data, check = file.read(length), file.read(4)
    if len(check) < 4 or zlib.crc32(name + data) != int.from_bytes(check, "big"):
        raise ValueError(f"its chunk {name.decode()} is damaged or cut off")
    return data


def _header(name: bytes, data: bytes) -> _Png:
    if name != b"IHDR" or len(data) != 13:
        raise ValueError("it does not begin with its header")
    width, height, bits, kind, compression, filters, interlace = struct.unpack(">IIBBBBB", data)
    if not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise ValueError(f"it says that it is {height}×{width} pixels")
    if bits not in _BITS.get(kind, ()) or compression or filters or interlace > 1:
        raise ValueError("its header is none of the standard")
    return _Png(width, height, bits, kind, bool(interlace))


def _further(file: BinaryIO, name: bytes, length: int, found: _Png, orientations: dict[str, int | None]) -> None:
    """Take what a chunk beside the pixels says of the orientation, and note what is left alone."""
    if name == b"iCCP":
        found.notes.append("ICC profile left alone")
    elif name == b"gAMA":
        found.notes.append("gamma left alone")
    elif length > _LONGEST_TEXT or name not in (*_TEXTS, b"eXIf"):
        return
    else:
        data = _data(file, name, length, length)
        try:
            if name == b"eXIf":
                orientations["exif"] = from_exif(data)
            else:
                _from_text(name, data, orientations)
        except (ValueError, zlib.error):
            found.notes.append("EXIF that cannot be read left alone")


def _from_text(name: bytes, data: bytes, orientations: dict[str, int | None]) -> None:
    """Take the orientation of XMP, or of EXIF as ImageMagick writes it: hexadecimal, behind a name and a length."""
    keyword, _, rest = data.partition(b"\0")
    if keyword == _XMP and name == b"iTXt":
        packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        orientations["xmp"] = from_xmp(_inflated(text) if packed else text)
    elif keyword in _EXIF and name != b"iTXt":
        text = _inflated(rest[1:]) if name == b"zTXt" else rest
        block = bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
        orientations["profile"] = from_exif(block.removeprefix(b"Exif\0\0"))


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _LONGEST_TEXT)


def _still(found: _Png) -> Decoded:
    """Return the image of the chunks IDAT."""
    _check_length(found)
    key = found.transparency if found.kind in (0, 2) else b""
    if found.bits == 16:
        import imagecodecs

        pixels = np.asarray(imagecodecs.png_decode(_rebuilt(found)))
        colors = {2: pixels[..., 0], 4: pixels[..., :3]}.get(_CHANNELS[found.kind], pixels)
        decoded = Decoded(colors, pixels[..., -1] if found.kind in (4, 6) else None)
    else:
        from PIL.PngImagePlugin import PngImageFile

        with PngImageFile(io.BytesIO(_rebuilt(found))) as picture:
            picture.load()
            if found.kind == 3 and int(np.asarray(picture).max()) >= len(found.palette) // 3:
                raise ValueError("its pixels name colours that its palette lacks")
            decoded = from_pillow(picture)
    if found.kind == 0 and found.bits in (2, 4):
        decoded = decoded._replace(notes=(f"{found.bits} bit widened to 8",))
    return decoded._replace(alpha=_keyed(decoded.pixels, key, found.bits)) if key else decoded


def _rebuilt(found: _Png) -> bytes:
    """Return a file of the pixels alone; of transparency, only that of a palette."""
    header = struct.pack(">IIBBBBB", found.width, found.height, found.bits, found.kind, 0, 0, int(found.interlaced))
    chunks = [(b"IHDR", header)]
    if found.kind == 3:
        chunks += [(b"PLTE", found.palette)] + ([(b"tRNS", found.transparency)] if found.transparency else [])
    return _file([*chunks, *((b"IDAT", data) for data in found.data), (b"IEND", b"")])


def _file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [SIGNATURE]
    for name, data in chunks:
        parts += [len(data).to_bytes(4, "big"), name, data, zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "big")]
    return b"".join(parts)


def _check_length(found: _Png) -> None:
    """Raise unless the data are as long as the size says, before memory is taken for either."""
    inflater, left = zlib.decompressobj(), found.size
    for data in found.data:
        while data and not inflater.eof:
            left -= len(inflater.decompress(data, _STEP))
            if left < 0:
                raise ValueError("its data are more than its size says")
            data = inflater.unconsumed_tail
    if left or not inflater.eof:
        raise ValueError("its data end before its pixels do")


def _keyed(pixels: Array, key: bytes, bits: int) -> Array:
    """Return the alpha (H, W) of the one colour that is transparent, of the pixels' type."""
    values = np.frombuffer(key, ">u2")
    if len(values) != (3 if pixels.ndim == 3 else 1):
        raise ValueError("its transparent colour has another number of channels")
    if bits < 8:
        values = values * (255 // (2**bits - 1))
    if pixels.dtype == np.bool_:
        return np.asarray(pixels != bool(values[0]))
    other = (pixels != values).any(axis=-1) if pixels.ndim == 3 else pixels != values[0]
    return np.where(other, np.iinfo(pixels.dtype).max, 0).astype(pixels.dtype)


def _frame(file: BinaryIO, found: _Png, page: int) -> Decoded:
    """Return an image of an animation as it is shown, that is, laid over those before it."""
    if found.bits == 16:
        raise FormError("is an animation of 16 bits, of which the first image is read alone; save the others as files")
    from PIL.PngImagePlugin import PngImageFile

    kept, chunks, left = (*_PIXELS, *_FRAMES, b"tRNS"), [], (2 * found.size + _LONGEST_TEXT) * (found.frames + 1)
    file.seek(len(SIGNATURE))
    for name, length in _chunks(file):
        left -= length
        if left < 0:
            raise ValueError("its data are more than its size says")
        if name in kept:
            chunks.append((name, _data(file, name, length, length)))
    with PngImageFile(io.BytesIO(_file(chunks))) as picture:
        picture.seek(page - 1)
        picture.load()
        return from_pillow(picture)
