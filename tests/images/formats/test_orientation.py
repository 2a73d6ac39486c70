"""Orientation tags: all eight, in every format and depth, turned as Pillow turns them and noted."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from helpers.cli import texture
from helpers.pictures import chunk, exif_of, pillow_bytes, read_bytes, tiff_bytes, with_chunks
from PIL import Image as Pillow
from PIL import ImageOps

import fusekit
from fusekit.images.files import read_image

GREY, RGB = texture(1), texture(2, channels=3)
GREY16, RGB16 = texture(1, depth="uint16"), texture(2, channels=3, depth="uint16")
FLOAT = texture(1, depth="float32") * 3 - 1
PALETTE = np.arange(768, dtype=np.uint16).reshape(3, 256) * 83


def as_pillow_turns(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels at the places to which Pillow brings their numbers."""
    numbers = np.arange(pixels.shape[0] * pixels.shape[1], dtype=np.int32).reshape(pixels.shape[:2])
    picture = Pillow.fromarray(numbers)
    picture.getexif()[274] = orientation
    turned = np.asarray(ImageOps.exif_transpose(picture))
    return pixels.reshape(-1, *pixels.shape[2:])[turned]


def profile(orientation: int) -> bytes:
    """Return EXIF data as ImageMagick puts them into a text."""
    text = (b"Exif\0\0" + exif_of(orientation)).hex()
    return f"\nexif\n{len(text) // 2:8d}\n{text}\n".encode()


def xmp(orientation: int) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def jpeg_with(marker: bytes) -> bytes:
    data = pillow_bytes(GREY, "JPEG", quality=100)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(marker) + 2) + marker + data[2:]


def tagged(pixels: np.ndarray, **options: object) -> Callable[[int], bytes]:
    return lambda number: tiff_bytes(pixels, extratags=[(274, "H", 1, number, True)], **options)


def png(data: bytes, kind: bytes, content: Callable[[int], bytes], *, last: bool = False) -> Callable[[int], bytes]:
    return lambda number: with_chunks(data, chunk(kind, content(number)), last=last)


#: What is stored, and the file of it with an orientation.
FILES: dict[str, tuple[np.ndarray, Callable[[int], bytes]]] = {
    "PNG": (GREY, png(pillow_bytes(GREY, "PNG"), b"eXIf", exif_of)),
    "PNG, behind its pixels": (RGB, png(pillow_bytes(RGB, "PNG"), b"eXIf", exif_of, last=True)),
    "PNG of 16 bits": (GREY16, png(imagecodecs.png_encode(GREY16), b"eXIf", exif_of)),
    "PNG of 16 bits in colour": (RGB16, png(imagecodecs.png_encode(RGB16), b"eXIf", exif_of)),
    "PNG with a profile": (
        GREY16,
        png(
            imagecodecs.png_encode(GREY16),
            b"zTXt",
            lambda n: b"Raw profile type exif\0\0" + zlib.compress(profile(n)),
        ),
    ),
    "PNG with a plain profile": (
        GREY,
        png(pillow_bytes(GREY, "PNG"), b"tEXt", lambda n: b"Raw profile type APP1\0" + profile(n)),
    ),
    "PNG with XMP": (
        GREY,
        png(pillow_bytes(GREY, "PNG"), b"iTXt", lambda n: b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(n), last=True),
    ),
    "PNG with packed XMP": (
        RGB16,
        png(
            imagecodecs.png_encode(RGB16),
            b"iTXt",
            lambda n: b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(n)),
        ),
    ),
    "JPEG": (GREY, lambda n: jpeg_with(b"Exif\0\0" + exif_of(n))),
    "JPEG with XMP": (GREY, lambda n: jpeg_with(b"http://ns.adobe.com/xap/1.0/\0" + xmp(n))),
    "TIFF": (GREY, tagged(GREY)),
    "TIFF in colour": (RGB, tagged(RGB, photometric="rgb", compression="zlib")),
    "TIFF of 16 bits": (GREY16, tagged(GREY16, compression="lzw", rowsperstrip=5)),
    "TIFF of 16 bits in colour": (RGB16, tagged(RGB16, photometric="rgb", tile=(16, 16))),
    "TIFF of floats": (FLOAT, tagged(FLOAT)),
    "TIFF of planes": (RGB, tagged(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate")),
    "TIFF with a palette": (
        (PALETTE.T[GREY]).astype(np.uint16),
        tagged(GREY, photometric="palette", colormap=PALETTE),
    ),
    "BigTIFF, big-endian": (GREY16, tagged(GREY16, bigtiff=True, byteorder=">")),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", FILES)
def test_every_format_is_turned(tmp_path: Path, name: str, orientation: int) -> None:
    stored, made = FILES[name]
    image = read_bytes(tmp_path, made(orientation))
    right = as_pillow_turns(stored, orientation)
    assert image.pixels.dtype == stored.dtype
    assert image.size == right.shape[:2]
    assert np.abs(image.pixels.astype(float) - right).max() <= (3 if name.startswith("JPEG") else 0)
    note = f"turned as its orientation tag says ({orientation})"
    assert (note in image.notes) is (orientation != 1)


@pytest.mark.parametrize("bits", [1, 4, 8, 24])
def test_a_bmp_from_the_top_is_read_so(tmp_path: Path, bits: int) -> None:
    pixels = {1: GREY > 100, 4: GREY // 16, 8: GREY, 24: RGB}[bits]
    header = struct.pack("<IiiHHIIiiII", 40, 20, -24, 1, bits, 0, 0, 0, 0, 0, 0)
    scale = {1: 255, 4: 17}.get(bits, 1)
    palette = b"".join(bytes([v * scale] * 3 + [0]) for v in range(1 << bits)) if bits <= 8 else b""
    rows = b""
    for row in pixels[..., ::-1] if bits == 24 else pixels:
        flat = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - min(bits, 8) :]
        packed = np.packbits(flat.reshape(-1)).tobytes()
        rows += packed + bytes(-len(packed) % 4)
    offset = 14 + 40 + len(palette)
    data = b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + palette + rows
    image = read_bytes(tmp_path, data)
    np.testing.assert_array_equal(image.pixels, pixels * np.uint8(scale))


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_numbers_that_mean_nothing(tmp_path: Path, orientation: int) -> None:
    for name in ("PNG", "JPEG", "TIFF"):
        stored, made = FILES[name]
        image = read_bytes(tmp_path, made(orientation))
        assert image.size == stored.shape
        said = [note for note in image.notes if "orientation" in note]
        assert said == ([f"not turned, as its orientation tag means nothing ({orientation})"] if orientation else [])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("exif", [b"", b"XX\0*", b"MM\0*\0\0\0\x08\0\xff", b"MM\0*\xff\xff\xff\xff"])
def test_damaged_exif_is_noted(tmp_path: Path, exif: bytes) -> None:
    for data in (with_chunks(pillow_bytes(GREY, "PNG"), chunk(b"eXIf", exif)), jpeg_with(b"Exif\0\0" + exif)):
        image = read_bytes(tmp_path, data)
        assert image.size == GREY.shape
        assert image.notes == ("EXIF that cannot be read left alone",)


def test_alpha_and_16_bit_transparency_are_turned_with_their_pixels(tmp_path: Path) -> None:
    alpha = np.full_like(GREY16, 65535)
    alpha[:5] = 0
    data = imagecodecs.png_encode(np.dstack([GREY16, alpha]))
    image = read_bytes(tmp_path, with_chunks(data, chunk(b"eXIf", exif_of(6))))
    np.testing.assert_array_equal(image.pixels, as_pillow_turns(np.where(alpha > 0, GREY16, 0), 6))
    assert image.notes == ("alpha composited over black", "turned as its orientation tag says (6)")


def test_a_turned_source_lies_on_the_others_grid_and_the_record_says_so(tmp_path: Path) -> None:
    (tmp_path / "turned.tif").write_bytes(tagged(np.rot90(GREY16))(6))
    (tmp_path / "mri.png").write_bytes(pillow_bytes(RGB[..., 0], "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "turned.tif").pixels, GREY16)
    fused = fusekit.fuse([tmp_path / "turned.tif", tmp_path / "mri.png"], "pixel", rule="mean")
    assert fused.image.shape == GREY.shape
    assert fused.record["sources"][0]["notes"] == ["turned as its orientation tag says (6)"]
