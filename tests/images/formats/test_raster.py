"""Reading and writing image files: what comes back, what is refused, and that damage never gets further than that."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.cli import texture
from PIL import Image as Pillow

from fusekit.errors import InputError, OutputError
from fusekit.images.files import check_format, read_image, write_image
from fusekit.images.image import from_pixels

GREY, RGB = texture(1), texture(2, channels=3)
GREY16, RGB16 = texture(1, depth="uint16"), texture(2, channels=3, depth="uint16")
GREY_FLOAT, RGB_FLOAT = texture(1, depth="float32") * 3 - 1, texture(2, channels=3, depth="float32")


def pillow_bytes(pixels: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Pillow.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_bytes(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def read_bytes(folder: Path, data: bytes | bytearray, name: str = "image.bin"):
    path = folder / name
    path.write_bytes(data)
    return read_image(path)


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


# --- forms of colour, alpha and depth ----------------------------------------------------------------------------


def test_16_bit_colour_and_alpha_keep_16_bits(tmp_path: Path) -> None:
    image = read_bytes(tmp_path, imagecodecs.png_encode(RGB16))
    assert image.depth == "uint16"
    np.testing.assert_array_equal(image.pixels, RGB16)
    alpha = np.full_like(GREY16, 65535)
    alpha[:4] = 0
    image = read_bytes(tmp_path, imagecodecs.png_encode(np.stack([GREY16, alpha], axis=-1)))
    assert image.notes == ("alpha composited over black",)
    np.testing.assert_array_equal(image.pixels[4:], GREY16[4:])
    assert not image.pixels[:4].any()


def test_rgba_is_composited_over_black(tmp_path: Path) -> None:
    alpha = texture(3)
    image = read_bytes(tmp_path, pillow_bytes(np.dstack([RGB, alpha]), "PNG"))
    assert image.notes == ("alpha composited over black",)
    np.testing.assert_array_equal(image.pixels, np.rint(RGB * (alpha[:, :, None] / 255)).astype(np.uint8))
    opaque = read_bytes(tmp_path, pillow_bytes(np.dstack([RGB, np.full_like(alpha, 255)]), "PNG"))
    assert opaque.notes == ("opaque alpha dropped",)
    np.testing.assert_array_equal(opaque.pixels, RGB)


def test_palette_and_transparent_palette(tmp_path: Path) -> None:
    picture = Pillow.fromarray((GREY // 64).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10, 90, 80, 70])
    colours = np.array([[0, 0, 0], [200, 10, 10], [10, 200, 10], [90, 80, 70]], np.uint8)
    picture.save(tmp_path / "p.png")
    image = read_image(tmp_path / "p.png")
    assert image.notes == ("palette expanded",)
    np.testing.assert_array_equal(image.pixels, colours[GREY // 64])
    picture.save(tmp_path / "p.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif").pixels, colours[GREY // 64])
    picture.save(tmp_path / "t.png", transparency=1)
    image = read_image(tmp_path / "t.png")
    assert image.notes == ("palette expanded", "alpha composited over black")
    colours[1] = 0
    np.testing.assert_array_equal(image.pixels, colours[GREY // 64])


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


def test_big_endian_and_planar_and_inverted_tiff(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_bytes(tmp_path, tiff_bytes(GREY16, byteorder=">")).pixels, GREY16)
    planes = np.moveaxis(RGB, -1, 0)
    planar = tiff_bytes(planes, photometric="rgb", planarconfig="separate", rowsperstrip=7)
    np.testing.assert_array_equal(read_bytes(tmp_path, planar).pixels, RGB)
    for pixels, white in ((GREY, 255), (GREY16, 65535)):
        image = read_bytes(tmp_path, tiff_bytes(pixels, photometric="miniswhite"))
        assert image.notes == ("white-is-zero inverted",)
        np.testing.assert_array_equal(image.pixels, white - pixels)


def test_three_equal_channels_are_grey(tmp_path: Path) -> None:
    image = read_bytes(tmp_path, pillow_bytes(np.dstack([GREY] * 3), "PNG"))
    assert image.notes == ("three equal channels read as grey",)
    np.testing.assert_array_equal(image.pixels, GREY)


def test_cmyk_jpeg_and_exif_orientation(tmp_path: Path) -> None:
    image = read_bytes(tmp_path, pillow_bytes(RGB, "JPEG", "CMYK", quality=95))
    assert image.notes == ("CMYK converted to RGB",)
    assert image.pixels.shape == RGB.shape
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = read_bytes(tmp_path, pillow_bytes(GREY, "JPEG", quality=100, exif=exif))
    assert turned.size == GREY.shape[::-1]
    assert np.abs(turned.pixels.astype(int) - np.rot90(GREY, -1)).max() <= 3


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
    "complex": (tiff_bytes(GREY.astype(np.complex64)), "holds values of type complex64"),
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
    with pytest.raises(InputError, match="is a folder; name an image file"):
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
    data[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    with pytest.raises(InputError, match="damaged TIFF"):
        read_bytes(tmp_path, bytes(data))


def test_images_beyond_the_limit_are_named_as_such(tmp_path, monkeypatch):
    from PIL import Image as Pillow

    path = tmp_path / "large.png"
    write_image(path, from_pixels(np.zeros((30, 30), np.uint8)))
    for limit in (600, 200):
        monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputError, match=r"large\.png has more pixels than fusekit opens"):
            read_image(path)
