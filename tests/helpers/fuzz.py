"""Files that are nearly right: small ones of every kind that fusekit reads, and ways to spoil them."""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

#: Numbers at which counters and sizes go wrong.
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1)


# --- files to begin with --------------------------------------------------------------------------------------------


@functools.cache
def images() -> dict[str, bytes]:
    """Return small image files by name, whose part before the dot says what is in them."""
    rows, columns = np.mgrid[0:18, 0:16]
    grey = ((rows * 9 + columns * 5) % 256).astype(np.uint8)
    colour = np.dstack([grey, grey[::-1], grey.T[:18, :16] if grey.T.shape == grey.shape else grey[:, ::-1]])
    return dict(_of_pillow(grey, colour)) | dict(_of_tifffile(grey, colour)) | dict(_of_imagecodecs(grey, colour))


def _of_pillow(grey: np.ndarray, colour: np.ndarray) -> Iterator[tuple[str, bytes]]:
    from PIL import Image, PngImagePlugin

    pictures = {"grey": Image.fromarray(grey), "colour": Image.fromarray(colour)}
    for mode in ("1", "LA", "P", "RGBA", "CMYK", "I;16"):
        of = pictures["grey"] if mode in ("1", "LA", "I;16") else pictures["colour"]
        pictures[mode.replace(";", "")] = of.convert(mode)
    taken = {
        ".png": ("grey", "colour", "1", "LA", "P", "RGBA", "I16"),
        ".jpg": ("grey", "colour", "CMYK"),
        ".bmp": ("grey", "colour", "1", "P", "RGBA"),
        ".tif": ("grey", "colour", "1", "P", "CMYK"),
    }
    for extension, names in taken.items():
        for name in names:
            yield f"{name}{extension}", _saved(pictures[name], extension)
    exif = Image.Exif()
    exif[274] = 6
    yield "turned.jpg", _saved(pictures["colour"], ".jpg", exif=exif, progressive=True)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 50, zip=True)
    yield "text.png", _saved(pictures["grey"], ".png", pnginfo=text, transparency=3)
    yield "palette-alpha.png", _saved(pictures["P"], ".png", transparency=bytes(range(200)))


def _saved(picture: Any, extension: str, **more: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, {".jpg": "JPEG", ".tif": "TIFF"}.get(extension, extension[1:].upper()), **more)
    return buffer.getvalue()


_LAYOUTS: tuple[tuple[Literal["<", ">"], bool], ...] = (("<", False), (">", False), ("<", True))


def _of_tifffile(grey: np.ndarray, colour: np.ndarray) -> Iterator[tuple[str, bytes]]:
    import tifffile

    deep, unit = grey.astype(np.uint16) * 16, (grey / 255).astype(np.float32)
    kinds: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "deep": (deep, {}),
        "float": (unit, {}),
        "double": (unit.astype(np.float64), {}),
        "signed": (deep.astype(np.int16) - 500, {}),
        "zlib": (deep, {"compression": "zlib", "predictor": True}),
        "lzw": (grey, {"compression": "lzw"}),
        "zstd": (unit, {"compression": "zstd"}),
        "packbits": (grey, {"compression": "packbits"}),
        "jpeg": (colour, {"compression": "jpeg", "photometric": "rgb"}),
        "tiled": (np.tile(deep, (2, 2)), {"tile": (16, 16)}),
        "strips": (grey, {"rowsperstrip": 4}),
        "planar": (np.moveaxis(colour, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        "white-is-zero": (grey, {"photometric": "miniswhite"}),
        "alpha": (np.dstack([colour, grey]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        "pages": (np.stack([grey, grey]), {"photometric": "minisblack"}),
        "turned": (grey, {"extratags": [(274, "H", 1, 6, True)]}),
    }
    for name, (pixels, options) in kinds.items():
        for order, big in _LAYOUTS:
            buffer = io.BytesIO()
            with tifffile.TiffWriter(buffer, byteorder=order, bigtiff=big) as writer:
                writer.write(pixels, metadata=None, **options)
            yield f"{name}{'-big' if big else ''}{'-swapped' if order == '>' else ''}.tiff", buffer.getvalue()


def _of_imagecodecs(grey: np.ndarray, colour: np.ndarray) -> Iterator[tuple[str, bytes]]:
    import imagecodecs

    deep = {"grey": grey, "colour": colour, "alpha": np.dstack([colour, grey]), "two": np.dstack([grey, grey])}
    for name, pixels in deep.items():
        yield f"deep-{name}.png", bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 257))


@functools.cache
def weights() -> dict[str, bytes]:
    """Return small weights files: of a model, of none, of other dtypes, and pickled ones."""
    import torch
    from safetensors.torch import save

    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.zeros(3), "n": torch.tensor(5)}
    header = {"fusekit": json.dumps({"model": "ehdran", "config": {"encoder": "dran", "edge": "drgo"}})}
    found = {
        "named.safetensors": save(tensors, metadata=header),
        "nameless.safetensors": save(tensors),
        "half.safetensors": save({key: value.half() for key, value in tensors.items()}, metadata=header),
        "empty.safetensors": save({}, metadata=header),
    }
    for name, content in (("state", tensors), ("wrapped", {"model": tensors, "epoch": 3}), ("list", [1, "a", None])):
        for how in (True, False):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=how)
            found[f"{name}{'' if how else '-old'}.pth"] = buffer.getvalue()
    return found


# --- ways to spoil them ---------------------------------------------------------------------------------------------


def spoiled(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Return a file with one to four things wrong; checksums of PNG and lengths of safetensors are often set right."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        data = chance.choice(_WAYS)(data, chance, others)
    if data.startswith(b"\x89PNG") and chance.random() < 0.7:
        return _with_checksums(data)
    return data


def _bits(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 2, 8))):
        if changed:
            changed[_place(changed, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _number(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    size, number = chance.choice((1, 2, 4, 8)), chance.choice(EXTREMES)
    order = chance.choice(("little", "big"))
    at = _place(data, chance)
    return data[:at] + (number % (1 << 8 * size)).to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


def _cut(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _longer(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    return data + chance.choice((b"\0" * 999, chance.randbytes(99), data))


def _without(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.randrange(1, 40) :]


def _doubled(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at, size = _place(data, chance), chance.randrange(1, 60)
    return data[: at + size] + data[at:]


def _noise(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at, size = _place(data, chance), chance.randrange(1, 40)
    return data[:at] + chance.randbytes(size) + data[at + size :]


def _joined(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _digits(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Change a number in the text of a header."""
    places = [at for at in range(min(len(data), 2000)) if data[at : at + 1].isdigit()]
    if not places:
        return data
    at = chance.choice(places)
    return data[:at] + chance.choice((b"9", b"0", b"99999", b"-1", b"1e9", b"null", b'"a"', b"[1]")) + data[at + 1 :]


_WAYS: tuple[Callable[[bytes, random.Random, list[bytes]], bytes], ...] = (
    *(_bits, _number, _number, _number, _cut, _longer, _without, _doubled, _noise, _joined, _digits),
)


def _place(data: bytes | bytearray, chance: random.Random) -> int:
    """Return a place in a file, more often in its first bytes, where the header is, or its last."""
    near = min(len(data), chance.choice((64, 300, len(data) or 1)))
    at = chance.randrange(near) if near else 0
    return max(len(data) - 1 - at, 0) if chance.random() < 0.2 else at


def _with_checksums(data: bytes) -> bytes:
    """Set the checksums of a PNG right, so that what is wrong in its chunks is looked at."""
    found, at = [data[:8]], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        if len(body) < 4 + size or at + 12 + size > len(data):
            break
        found.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + size
    return b"".join([*found, data[at:]])
