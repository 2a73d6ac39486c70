"""Reading and writing image files: what comes back, what is refused, and that damage never gets further than that."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.cli import texture
from helpers.pictures import pillow_bytes, read_bytes, tiff_bytes

from fusekit.errors import InputError, OutputError
from fusekit.images.files import check_format, read_image, write_image
from fusekit.images.image import from_pixels

GREY, RGB = texture(1), texture(2, channels=3)
GREY16, RGB16 = texture(1, depth="uint16"), texture(2, channels=3, depth="uint16")
GREY_FLOAT, RGB_FLOAT = texture(1, depth="float32") * 3 - 1, texture(2, channels=3, depth="float32")


SMALL_FILES = {
    "PNG grey": pillow_bytes(GREY, "PNG"),
    "PNG RGB": pillow_bytes(RGB, "PNG"),
    "PNG 16 bit": pillow_bytes(GREY16, "PNG"),
    "PNG RGB 16 bit": imagecodecs.png_encode(RGB16),
    "PNG palette": pillow_bytes(RGB, "PNG", "P"),
    "TIFF plain": tiff_bytes(GREY),
    "TIFF LZW RGB": tiff_bytes(RGB, compression="lzw", photometric="rgb"),
    "TIFF zlib float": tiff_bytes(GREY_FLOAT, compression="zlib"),
    "TIFF JPEG": tiff_bytes(GREY, compression="jpeg"),
    "TIFF tiles": tiff_bytes(GREY, tile=(16, 16), compression="zlib"),
    "TIFF palette": pillow_bytes(RGB, "TIFF", "P"),
    "JPEG": pillow_bytes(RGB, "JPEG"),
    "BMP": pillow_bytes(RGB, "BMP"),
}


# --- round trips -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pixels", [GREY, RGB, GREY16, RGB16, GREY_FLOAT, RGB_FLOAT], ids=lambda p: f"{p.dtype}{p.ndim}"
)
@pytest.mark.parametrize("extension", [".png", ".tif", ".tiff", ".bmp", ".jpg", ".JPEG"])
def test_what_is_written_is_read_back(tmp_path: Path, pixels: np.ndarray, extension: str) -> None:
    path = tmp_path / f"image{extension}"
    holds = {".png": ("uint8", "uint16"), ".bmp": ("uint8",), ".jpg": ("uint8",), ".JPEG": ("uint8",)}
    if str(pixels.dtype) not in holds.get(extension, ("uint8", "uint16", "float32")):
        with pytest.raises(OutputError, match=f"do not hold {pixels.dtype} images; write"):
            write_image(path, from_pixels(pixels))
        assert not list(tmp_path.iterdir())
        return
    write_image(path, from_pixels(pixels))
    image = read_image(path)
    assert (image.depth, image.pixels.shape, image.path) == (str(pixels.dtype), pixels.shape, path)
    assert len(image.origin.sha256) == 64
    assert image.notes == ()
    if extension in (".jpg", ".JPEG"):
        assert np.abs(image.pixels.astype(int) - pixels).mean() < 6
    else:
        np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize("name", ["image.gif", "image", "image.npy"])
def test_formats_that_are_not_written(name: str) -> None:
    with pytest.raises(OutputError, match=r"name the output \.png"):
        check_format(Path(name))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("pixels", [GREY, RGB, GREY16, RGB16, GREY_FLOAT], ids=lambda p: f"{p.dtype}{p.ndim}")
def test_compressed_tiff(tmp_path: Path, pixels: np.ndarray, compression: str | None) -> None:
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    data = tiff_bytes(pixels, compression=compression, photometric=photometric, rowsperstrip=5)
    np.testing.assert_array_equal(read_bytes(tmp_path, data).pixels, pixels)


# --- forms of depth and colour ------- ----------------------------------------------------------------------------


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = GREY > 100
    for data in (pillow_bytes(bits, "PNG"), pillow_bytes(bits, "TIFF"), pillow_bytes(bits, "BMP")):
        np.testing.assert_array_equal(read_bytes(tmp_path, data).pixels, bits * np.uint8(255))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int16", "int32", "uint32"])
def test_other_types_are_read_as_float32(tmp_path: Path, dtype: str) -> None:
    pixels = (GREY.astype(np.float64) * 3 - (200 if dtype[0] != "u" else 0)).astype(dtype)
    image = read_bytes(tmp_path, tiff_bytes(pixels))
    assert image.notes == (f"{dtype} read as float32",)
    np.testing.assert_array_equal(image.pixels, pixels.astype(np.float32))


def test_big_endian_and_planar_tiff(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_bytes(tmp_path, tiff_bytes(GREY16, byteorder=">")).pixels, GREY16)
    planes = np.moveaxis(RGB, -1, 0)
    planar = tiff_bytes(planes, photometric="rgb", planarconfig="separate", rowsperstrip=7)
    np.testing.assert_array_equal(read_bytes(tmp_path, planar).pixels, RGB)


def test_three_equal_channels_are_grey(tmp_path: Path) -> None:
    image = read_bytes(tmp_path, pillow_bytes(np.dstack([GREY] * 3), "PNG"))
    assert image.notes == ("three equal channels read as grey",)
    np.testing.assert_array_equal(image.pixels, GREY)


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_bytes(tmp_path, tiff_bytes(GREY16), "image.png").pixels, GREY16)
    np.testing.assert_array_equal(read_bytes(tmp_path, pillow_bytes(RGB, "PNG"), "image.tif").pixels, RGB)


# --- refusals ----------------------------------------------------------------------------------------------------


def float_tiff_with(value: float) -> bytes:
    pixels = GREY_FLOAT.copy()
    pixels[3, 4] = value
    return tiff_bytes(pixels)


REFUSED = {
    "text": (b"this is no image\n", "is not an image that fusekit reads"),
    "empty": (b"", r"is empty \(0 bytes\)"),
    "signature only": (b"\x89PNG\r\n\x1a\n", "is a damaged PNG file"),
    "one pixel": (pillow_bytes(GREY[:1, :1], "PNG"), "is 1×1 pixels; images need at least 2×2"),
    "one row": (tiff_bytes(GREY[:1]), "is 1×20 pixels"),
    "NaN": (float_tiff_with(np.nan), "holds 1 values that are NaN or infinite"),
    "infinity": (float_tiff_with(-np.inf), "holds 1 values that are NaN or infinite"),
    "beyond float32": (tiff_bytes(np.full((4, 4), 1e300)), "holds 16 values that are NaN or infinite"),
    "pages": (
        tiff_bytes(np.stack([GREY, GREY]), photometric="minisblack"),
        r"holds 2 pages; choose one by --page N \(1 to 2\)",
    ),
    "complex": (tiff_bytes(GREY.astype(np.complex64)), "holds complex values; save their magnitude"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_files(tmp_path: Path, case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        read_bytes(tmp_path, data, "refused.png")
    assert str(tmp_path / "refused.png") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_folder_and_impossible_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*absent\.png"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match="is not a regular file but a folder; name an image file"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        read_image(tmp_path / ("a" * 300 + ".png"))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 5), (2, 4, 4, 3), (0, 4)])
def test_arrays_of_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        from_pixels(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("name", SMALL_FILES)
def test_truncated_files_are_refused_at_every_length(tmp_path: Path, name: str) -> None:
    data = SMALL_FILES[name]
    read_bytes(tmp_path, data)
    lengths = {*range(1, 40), *range(40, len(data), 37), *range(len(data) - 12, len(data))}
    for length in sorted(lengths):
        with pytest.raises(InputError):
            read_bytes(tmp_path, data[:length])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_is_read_or_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(20)
    refused = 0
    for number in range(260):
        data = bytearray(SMALL_FILES[list(SMALL_FILES)[number % len(SMALL_FILES)]])
        for _ in range(random.integers(1, 9)):
            at = int(random.integers(len(data)))
            kind = random.random()
            if kind < 0.6:
                data[at] = random.integers(256)
            elif kind < 0.8:
                del data[at : at + int(random.integers(1, 9))]
            else:
                data[at:at] = random.bytes(int(random.integers(1, 9)))
        try:
            image = read_bytes(tmp_path, bytes(data))
        except InputError:
            refused += 1
        else:
            assert image.pixels.ndim in (2, 3)
            assert image.depth in ("uint8", "uint16", "float32")
    assert refused > 100


def test_a_tiff_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    data = bytearray(tiff_bytes(GREY))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        place = tiff.pages[0].tags["ImageLength"].valueoffset
    for claimed, message in ((10**6, "damaged TIFF"), (2**31 - 1, "has 2147483647×20 pixels")):
        data[place : place + 4] = claimed.to_bytes(4, "little")
        with pytest.raises(InputError, match=message):
            read_bytes(tmp_path, bytes(data))
