"""Ways of storing values: of few bits, packed, compressed; read with what is done to them said, or refused by name."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.cli import texture
from helpers.pictures import (
    chunk,
    pillow_bytes,
    plain_tags,
    png_of,
    read_bytes,
    rows_of,
    tiff_bytes,
    tiff_of,
    with_chunks,
)
from PIL import Image as Pillow

from fusekit.errors import InputError

GREY, GREY16 = texture(1), texture(1, depth="uint16")
RGB = texture(2, channels=3)
SIZE = GREY.shape


def packed(values: np.ndarray, bits: int) -> bytes:
    """Return rows of packed integers, the most significant bit first."""
    each = np.unpackbits(values.astype(">u2").reshape(SIZE[0], -1, 1).view(np.uint8), axis=-1)[..., 16 - bits :]
    return np.packbits(each.reshape(SIZE[0], -1), axis=-1).tobytes()


# --- few bits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [*range(2, 8), *range(9, 16)])
def test_packed_tiff_is_widened(tmp_path: Path, bits: int) -> None:
    values = GREY16 >> (16 - bits)
    image = read_bytes(tmp_path, tiff_of(plain_tags(SIZE, 1, bits=bits), packed(values, bits)))
    depth = 8 if bits < 8 else 16
    assert (image.depth, image.notes) == (f"uint{depth}", (f"{bits} bit widened to {depth}",))
    np.testing.assert_array_equal(image.pixels, np.rint(values * ((2**depth - 1) / (2**bits - 1))))
    assert image.pixels.max() == 2**depth - 1
    inverted = read_bytes(tmp_path, tiff_of(plain_tags(SIZE, 0, bits=bits), packed(values, bits)))
    np.testing.assert_array_equal(inverted.pixels, 2**depth - 1 - image.pixels.astype(int))


def test_packed_colour_and_alpha(tmp_path: Path) -> None:
    values = np.dstack([texture(2, channels=3) >> 4, np.where(GREY > 100, 15, 0)])
    tags = {**plain_tags(SIZE, 2, 4, bits=4), 338: ("H", (2,))}
    image = read_bytes(tmp_path, tiff_of(tags, packed(values, 4)))
    assert image.notes == ("4 bit widened to 8", "alpha composited over black")
    np.testing.assert_array_equal(image.pixels, np.where(values[..., 3:] > 0, values[..., :3] * 17, 0))


def test_12_bits_packed_and_in_16_look_alike(tmp_path: Path) -> None:
    values = GREY16 >> 4
    tight = read_bytes(tmp_path, tiff_of(plain_tags(SIZE, 1, bits=12), packed(values, 12)))
    loose = read_bytes(tmp_path, tiff_bytes(values))
    assert np.abs(tight.pixels / 65535 - loose.pixels / 4095).max() < 1 / 65535


@pytest.mark.parametrize("bits", [2, 4])
def test_png_of_few_bits_is_widened(tmp_path: Path, bits: int) -> None:
    values = GREY >> (8 - bits)
    image = read_bytes(tmp_path, png_of(SIZE, bits, 0, rows_of(values, bits)))
    assert image.notes == (f"{bits} bit widened to 8",)
    np.testing.assert_array_equal(image.pixels, values * (255 // (2**bits - 1)))


@pytest.mark.parametrize("compression", ["group3", "group4", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_one_bit_compressed(tmp_path: Path, compression: str) -> None:
    bits = GREY > 100
    data = pillow_bytes(bits, "TIFF", compression=compression)
    if compression.startswith("group") and int(tifffile.__version__.split(".")[0]) < 2026:
        with pytest.raises(
            InputError, match=r"is a TIFF file of a form that fusekit does not read \(.*not supported\)"
        ):
            read_bytes(tmp_path, data)
        return
    image = read_bytes(tmp_path, data)
    assert "1 bit widened to 8" in image.notes
    np.testing.assert_array_equal(image.pixels, bits * np.uint8(255))


def test_values_of_no_stated_type(tmp_path: Path) -> None:
    tags = {**plain_tags(SIZE, 1), 339: ("H", (4,))}
    image = read_bytes(tmp_path, tiff_of(tags, GREY.tobytes()))
    assert image.notes == ("values of no stated type read as integers without sign",)
    np.testing.assert_array_equal(image.pixels, GREY)


@pytest.mark.parametrize("compression", ["lzma", "zstd", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("predictor", [False, True])
def test_compressed_floats_in_tiles(tmp_path: Path, compression: str, predictor: bool) -> None:
    values = texture(3, 40, 50, depth="float32") * 2000 - 1000
    data = tiff_bytes(values, compression=compression, predictor=predictor, tile=(16, 16))
    np.testing.assert_array_equal(read_bytes(tmp_path, data).pixels, values)


# --- refused by name -----------------------------------------------------------------------------------------------

OF_TIFF = {
    "old-style JPEG": ({259: ("H", (6,))}, r"is compressed by OJPEG \(6\); save it uncompressed or by deflate"),
    "JPEG 2000": ({259: ("H", (34712,))}, r"is compressed by JPEG2000 \(34712\)"),
    "WebP": ({259: ("H", (50001,))}, r"is compressed by WEBP \(50001\)"),
    "JPEG XL": ({259: ("H", (50002,))}, r"is compressed by JPEGXL \(50002\)"),
    "LERC": ({259: ("H", (34887,))}, r"is compressed by LERC \(34887\)"),
    "unknown": ({259: ("H", (777,))}, r"is compressed by unknown \(777\)"),
    "complex": ({258: ("H", (64,)), 339: ("H", (6,))}, "holds complex values; save their magnitude"),
    "complex integers": ({258: ("H", (32,)), 339: ("H", (5,))}, "holds complex values; save their magnitude"),
    "24 bits": ({258: ("H", (24,))}, r"holds values of 24 bits \(SampleFormat 1\); save it as 8 or 16 bits"),
    "24-bit floats": ({258: ("H", (24,)), 339: ("H", (3,))}, r"holds values of 24 bits \(SampleFormat 3\)"),
    "40 bits": ({258: ("H", (40,))}, r"holds values of 40 bits \(SampleFormat 1\); save it as 8 or 16 bits"),
    "8-bit floats": ({258: ("H", (8,)), 339: ("H", (3,))}, r"holds values of 8 bits \(SampleFormat 3\)"),
    "palette of floats": ({262: ("H", (3,)), 258: ("H", (32,)), 339: ("H", (3,))}, r"holds PALETTE \(3\) values of"),
}


@pytest.mark.parametrize("name", OF_TIFF)
def test_tiffs_that_are_refused_by_name(tmp_path: Path, name: str) -> None:
    tags, message = OF_TIFF[name]
    data = tiff_of({**plain_tags(SIZE, 1), **tags}, bytes(GREY.size * 8))
    with pytest.raises(InputError, match=rf"image\.bin {message}"):
        read_bytes(tmp_path, data)


def test_channels_of_several_depths(tmp_path: Path) -> None:
    for bits, stored in (((5, 6, 5), 2), ((8, 8, 16), 4)):
        tags = {**plain_tags(SIZE, 2, 3), 258: ("H", bits)}
        with pytest.raises(InputError, match=r"holds values of \(\d+, \d+, \d+\) bits"):
            read_bytes(tmp_path, tiff_of(tags, bytes(GREY.size * stored)))


def test_alpha_in_jpeg(tmp_path: Path) -> None:
    tags = {**plain_tags(SIZE, 1, 2), 259: ("H", (7,)), 338: ("H", (2,))}
    with pytest.raises(InputError, match="holds an alpha channel compressed by JPEG"):
        read_bytes(tmp_path, tiff_of(tags, pillow_bytes(GREY, "JPEG")))


def jpeg_with_frame(marker: int, bits: int = 8, channels: int = 1, height: int = 24) -> bytes:
    data = bytearray(pillow_bytes(GREY, "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4], data[at + 9] = marker, bits, channels
    data[at + 5 : at + 7] = struct.pack(">H", height)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (jpeg_with_frame(0xC1, bits=12), "is a JPEG of 12 bits; save it as PNG or TIFF"),
        (jpeg_with_frame(0xC3), "is a lossless JPEG"),
        (jpeg_with_frame(0xC5), "is a hierarchical JPEG"),
        (jpeg_with_frame(0xC0, channels=2), "is a JPEG of 2 channels"),
        (jpeg_with_frame(0xC0, height=0), "is a JPEG that does not say its height"),
        (with_chunks(pillow_bytes(GREY, "PNG"), chunk(b"CgBI", b"\0\0\0\0")), "has a chunk CgBI that is not of the"),
    ],
)
def test_jpegs_and_pngs_that_are_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"image\.bin {message}"):
        read_bytes(tmp_path, data)


@pytest.mark.parametrize(
    ("at", "form", "value", "message"),
    [
        (30, "<I", 4, "is a BMP that holds a JPEG; save it as that"),
        (30, "<I", 5, "is a BMP that holds a PNG; save it as that"),
        (30, "<I", 6, "is a BMP of 24 bits in the form 6; save it as PNG or TIFF"),
        (28, "<H", 64, "is a BMP of 64 bits in the form 0"),
        (14, "<I", 33, "is a BMP with a header of 33 bytes"),
        (18, "<i", -20, "is a damaged BMP file .it says that it is 24×-20 pixels"),
        (22, "<i", 0, "is a damaged BMP file .it says that it is 0×20 pixels"),
    ],
)
def test_bmps_that_are_refused_by_name(tmp_path: Path, at: int, form: str, value: int, message: str) -> None:
    data = bytearray(pillow_bytes(RGB, "BMP"))
    struct.pack_into(form, data, at, value)
    with pytest.raises(InputError, match=rf"image\.bin {message}"):
        read_bytes(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (imagecodecs.jpeg2k_encode(GREY), "a JPEG 2000 file"),
        (imagecodecs.jpeg2k_encode(GREY, codecformat="j2k"), "a JPEG 2000 codestream"),
        (pillow_bytes(GREY, "GIF"), "a GIF file"),
        (pillow_bytes(RGB, "WEBP"), "a WebP file"),
        (pillow_bytes(GREY, "PPM"), "a portable pixmap"),
        (bytes(128) + b"DICM" + bytes(60), "a DICOM file"),
        (struct.pack("<i", 348) + bytes(340) + b"n+1\0", "a NIfTI file"),
        (b"\x1f\x8b\x08" + bytes(30), "a gzip archive"),
        (b"NRRD0005\n", "an NRRD file"),
    ],
)
def test_other_images_are_refused_by_name(tmp_path: Path, data: bytes, name: str) -> None:
    message = rf"image\.png is {name}, which fusekit does not read \(PNG, TIFF, JPEG, BMP.*\); save it as PNG or TIFF"
    with pytest.raises(InputError, match=message):
        read_bytes(tmp_path, data, "image.png")


def test_bmps_of_runs_and_of_os2(tmp_path: Path) -> None:
    rows = b"".join(bytes([20, value]) + b"\0\0" for value in range(24)) + b"\0\1"
    palette = b"".join(bytes([value, 0, 255 - value, 0]) for value in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 20, 24, 1, 8, 1, len(rows), 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + palette + rows
    image = read_bytes(tmp_path, data)
    assert image.notes == ("palette expanded",)
    right = np.array([[255 - value, 0, value] for value in range(23, -1, -1)])
    np.testing.assert_array_equal(image.pixels, np.repeat(right[:, None], 20, axis=1))
    core = struct.pack("<IHHHH", 12, 20, 24, 1, 24)
    pixels = b"".join(row[:, ::-1].tobytes() for row in RGB[::-1])
    image = read_bytes(tmp_path, b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + core + pixels)
    np.testing.assert_array_equal(image.pixels, RGB)


def test_a_bmp_whose_palette_is_too_short(tmp_path: Path) -> None:
    picture = Pillow.fromarray((GREY // 64).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10, 90, 80, 70])
    buffer = io.BytesIO()
    picture.save(buffer, "BMP")
    data = bytearray(buffer.getvalue())
    assert read_bytes(tmp_path, data).notes == ("palette expanded",)
    data[46:50] = (2).to_bytes(4, "little")
    with pytest.raises(InputError, match="its pixels name colours that its palette lacks"):
        read_bytes(tmp_path, data)
