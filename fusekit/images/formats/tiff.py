"""TIFF and BigTIFF: tifffile reads the values; what they mean is told here, and what is not known is refused.

TIFF 6.0 and its supplements; the names in messages are those of the standard.
"""

from __future__ import annotations

import functools
import math
from typing import Any, BinaryIO

import numpy as np

from fusekit.images.formats.decoded import Decoded, FormError, Opened, rgb_of_cmyk, rgb_of_ycbcr, widened
from fusekit.images.formats.jpeg import frame_of
from fusekit.images.formats.tiff_pages import Place, page_at, places
from fusekit.images.image import Array

_NONE, _LZW, _JPEG, _LZMA = 1, 5, 7, 34925
#: Ways of packing whose result is never larger than the directory says; CCITT, deflate, PackBits and Zstandard too.
_COMPRESSIONS = (_NONE, 2, 3, 4, _LZW, _JPEG, 8, 32773, 32946, _LZMA, 50000)
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
#: Channels of each photometric interpretation that is read.
_CHANNELS = {_MINISWHITE: 1, _MINISBLACK: 1, _RGB: 3, _PALETTE: 1, _SEPARATED: 4, _YCBCR: 3}
_PREMULTIPLIED, _ALPHA = 1, 2
#: SampleFormat of values whose type the writer did not know.
_VOID = 4
_ORIENTATION, _PHOTOMETRIC, _INKSET, _ICC = 274, 262, 332, 34675
_COEFFICIENTS, _REFERENCE = 529, 532
_BT601 = (0.299, 0.587, 0.114)
#: Values that a tile may have beyond those of its image: tiles are filled up to a side that is common to all.
_MOST_FILLING = 1 << 24


class OpenedTiff(Opened):
    """A TIFF or BigTIFF. Of planes that can only be read together, the shape has the channels of all."""

    def __init__(self, file: BinaryIO) -> None:
        import tifffile

        super().__init__(file)
        file.seek(0)
        # Called by a name of our own: tifffile takes files of some names for forms that are no TIFF.
        self._tiff: Any = tifffile.TiffFile(file, name="image.tif")

    def close(self) -> None:
        self._tiff.close()

    @functools.cached_property
    def _places(self) -> list[Place]:
        return places(self._tiff)

    def pages(self) -> int:
        return sum(place.planes for place in self._places)

    def shape(self, page: int) -> tuple[int, int, int]:
        found, _, _ = page_at(self._tiff, self._places, page)
        return int(found.imagelength), int(found.imagewidth), int(found.samplesperpixel * found.imagedepth)

    def decode(self, page: int) -> Decoded:
        found, plane, said = page_at(self._tiff, self._places, page)
        photometric, notes = _photometric(found)
        extra = _extra(found, photometric)
        _check_form(found, photometric, bool(extra))
        _check_data(found, self._tiff.filehandle)
        values = _values(found, plane)
        decoded = _colored(found, photometric, values[..., : _CHANNELS[photometric]])
        if extra:
            decoded = _with_alpha(found, decoded, photometric, extra[0], values[..., -1])
        orientation = found.tags.valueof(_ORIENTATION, 1)
        notes += ["values of no stated type read as integers without sign"] * (found.sampleformat == _VOID)
        notes += [said] * bool(said) + ["ICC profile left alone"] * (_ICC in found.tags)
        orientation = orientation if isinstance(orientation, int) else 0
        return decoded._replace(orientation=int(orientation), notes=(*decoded.notes, *notes))


def _photometric(page: Any) -> tuple[int, list[str]]:
    """Return what the values stand for, and what to note where the file does not say it."""
    if _PHOTOMETRIC in page.tags:
        return int(page.photometric), []
    # As libtiff takes it.
    assumed = {1: _MINISBLACK, 3: _RGB}.get(page.samplesperpixel)
    if assumed is None or page.compression in (2, 3, 4):
        raise FormError("does not say what its values stand for (PhotometricInterpretation); write it again")
    return assumed, [f"taken for {'grey' if assumed == _MINISBLACK else 'RGB'}, as it does not say what it is"]


def _extra(page: Any, photometric: int) -> tuple[int, ...]:
    """Return what the channels beyond those of the colour are: one of alpha, or none.

    Raises:
        FormError: they are something else, or nobody knows what.
    """
    if photometric not in _CHANNELS:
        raise FormError(f"holds {_called('PHOTOMETRIC', photometric)} values; save it as grey or RGB")
    count = page.samplesperpixel - _CHANNELS[photometric]
    if count < 0:
        raise ValueError(f"it has {page.samplesperpixel} channels and says that it is in colour")
    said = tuple(int(each) for each in page.extrasamples)[:count]
    if len(said) < count or (said and said not in ((_PREMULTIPLIED,), (_ALPHA,))):
        channels = "channel that it does not call" if count == 1 else "channels that it does not call one"
        raise FormError(
            f"holds {count} further {channels} alpha (ExtraSamples {', '.join(map(str, said)) or 'absent'}); save the "
            "channel to fuse as a file of its own, or say in the file that it is alpha"
        )
    return said


def _check_form(page: Any, photometric: int, alpha: bool) -> None:
    """Raise `FormError` for ways of storing that are not read, by their names."""
    if page.compression not in _COMPRESSIONS:
        raise FormError(
            f"is compressed by {_called('COMPRESSION', page.compression)}; save it uncompressed or by deflate"
        )
    # Of packed integers the libraries unpack those of up to 16 bits.
    if page.dtype is None or isinstance(page.bitspersample, tuple) or 16 < page.bitspersample < 32:
        raise FormError(
            f"holds values of {page.bitspersample} bits (SampleFormat {page.sampleformat}); save it as 8 or 16 bits, "
            "or as 32-bit floats"
        )
    kind, bits = page.dtype.kind, page.bitspersample
    if kind == "c":
        raise FormError("holds complex values; save their magnitude")
    if photometric in (_PALETTE, _SEPARATED, _YCBCR):
        wanted = {_PALETTE: range(1, 17), _SEPARATED: (8, 16), _YCBCR: (8,)}[photometric]
        if kind not in ("b", "u") or bits not in wanted:
            raise FormError(f"holds {_called('PHOTOMETRIC', photometric)} values of type {page.dtype}; save it as RGB")
    if photometric == _SEPARATED and int(page.tags.valueof(_INKSET, 1)) != 1:
        raise FormError("holds inks that are not those of CMYK; save it as RGB")
    if photometric == _MINISWHITE and kind not in ("b", "u"):
        raise FormError(f"has white at zero and holds {page.dtype}, so that nobody knows its black; save it otherwise")
    if page.compression == _JPEG and alpha:
        raise FormError("holds an alpha channel compressed by JPEG; save it uncompressed or by deflate")
    if photometric == _YCBCR and page.is_subsampled and (page.compression != _JPEG or page.planarconfig == 2):
        raise FormError("holds YCbCr values whose chroma is subsampled; save it as RGB")


def _check_data(page: Any, file: Any) -> None:
    """Raise for a size that the file cannot have, and for parts that hold more than their size, before decoding."""
    offsets, counts, chunk = page.dataoffsets, page.databytecounts, math.prod(page.chunks)
    if math.prod(page.shape) < 1 or chunk > math.prod(page.shape) + _MOST_FILLING:
        raise ValueError(f"it says that a part of its {math.prod(page.shape)} values has {chunk}")
    if math.prod(page.chunked) != len(offsets) or len(counts) != len(offsets):
        raise ValueError("it lacks parts of its pixels")
    if any(not count or start + count > file.size for start, count in zip(offsets, counts, strict=True)):
        raise ValueError("it ends before its pixels do")
    if page.compression == _NONE and sum(counts) * 8 < math.prod(page.shape) * page.bitspersample:
        raise ValueError("its data are less than its size says")
    if page.compression not in (_LZW, _JPEG, _LZMA):
        return
    for start, count in zip(offsets, counts, strict=True):
        file.seek(start)
        _check_part(page, file.read(count), chunk * page.dtype.itemsize)


def _check_part(page: Any, data: bytes, size: int) -> None:
    """Raise where a part is larger than the directory says, for codecs that would not say so themselves."""
    import imagecodecs

    if page.compression == _JPEG:
        frame, (length, width) = frame_of(data), _sides(page)
        if frame.height > length or frame.width > width:
            raise ValueError(f"a part of it says that it is {frame.height}×{frame.width} pixels")
        return
    unpack = imagecodecs.lzw_decode if page.compression == _LZW else imagecodecs.lzma_decode
    if len(unpack(data, out=size + 1)) > size:
        raise ValueError("its data are more than its size says")


def _sides(page: Any) -> tuple[int, int]:
    """Return height and width of a part."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return page.rowsperstrip, page.imagewidth


def _values(page: Any, plane: int) -> Array:
    """Return the stored values of an image: (H, W, channels), native byte order."""
    values = np.asarray(page.asarray(squeeze=False))
    # (planes of channels, depth, H, W, channels)
    values = np.moveaxis(values[:, plane], 0, -1)
    values = values.reshape(*values.shape[:2], -1)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _colored(page: Any, photometric: int, values: Array) -> Decoded:
    """Return grey or RGB of the channels of the colour (H, W, C)."""
    if photometric == _PALETTE:
        return Decoded(_expanded(page, values[..., 0]), notes=("palette expanded",))
    notes: tuple[str, ...] = ()
    if values.dtype.kind == "u" and 1 < page.bitspersample < 16 and page.bitspersample != 8:
        values = widened(values, page.bitspersample)
        notes = (f"{page.bitspersample} bit widened to {values.dtype.itemsize * 8}",)
    if photometric == _MINISWHITE:
        inverted = ~values if values.dtype.kind == "b" else np.iinfo(values.dtype).max - values
        return Decoded(inverted[..., 0], notes=(*notes, "white-is-zero inverted"))
    if photometric == _SEPARATED:
        return Decoded(rgb_of_cmyk(values), notes=("CMYK converted to RGB",))
    # Of a JPEG with its channels together, the decoder has made RGB.
    if photometric == _YCBCR and (page.compression != _JPEG or page.planarconfig == 2):
        weights = _numbers(page, _COEFFICIENTS, _BT601)
        limits = _numbers(page, _REFERENCE, (0, 255, 128, 255, 128, 255))
        return Decoded(rgb_of_ycbcr(values, weights, limits), notes=("YCbCr converted to RGB",))
    return Decoded(values[..., 0] if photometric == _MINISBLACK else values, notes=notes)


def _expanded(page: Any, indices: Array) -> Array:
    """Return the colours (H, W, 3) of a palette: of 8 bits where its entries are, or else of 16."""
    palette = page.colormap
    if palette is None or palette.shape != (3, 2**page.bitspersample):
        raise ValueError("it has no palette, or one of another length")
    high, low = palette >> 8, palette & 255
    # Old programs wrote values to 255; new ones shift them, or repeat their bits.
    if palette.max() <= 255:
        palette = palette.astype(np.uint8)
    elif ((low == 0) | (low == high)).all():
        palette = high.astype(np.uint8)
    return np.ascontiguousarray(palette.T)[indices.astype(np.intp)]


def _numbers(page: Any, tag: int, default: tuple[float, ...]) -> Any:
    """Return numbers of a tag of rational ones, each a pair of integers there."""
    given = page.tags.valueof(tag)
    if given is None:
        return default
    found = [up / down for up, down in zip(given[::2], given[1::2], strict=True)]
    if len(found) != len(default):
        raise ValueError(f"its tag {tag} has {len(found)} numbers")
    return tuple(found)


def _with_alpha(page: Any, decoded: Decoded, photometric: int, kind: int, alpha: Array) -> Decoded:
    """Return pixels with their alpha; where it is multiplied into them already, they lie over black as they are."""
    if kind == _PREMULTIPLIED:
        if photometric in (_MINISWHITE, _PALETTE, _SEPARATED, _YCBCR):
            name = _called("PHOTOMETRIC", photometric)
            raise FormError(f"holds {name} values that an alpha channel is multiplied into; save it as grey or RGB")
        return decoded._replace(notes=(*decoded.notes, "premultiplied alpha dropped, which is over black already"))
    if alpha.dtype.kind == "u" and page.bitspersample not in (8, 16, 32, 64):
        alpha = widened(alpha, page.bitspersample)
    return decoded._replace(alpha=alpha)


def _called(kind: str, number: int) -> str:
    """Return what the standard calls a number of a tag."""
    import tifffile

    try:
        return f"{getattr(tifffile, kind)(number).name} ({number})"
    except ValueError:
        return f"unknown ({number})"
