"""What stored values stand for: each photometric interpretation is converted right, or refused by its name."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from helpers.cli import texture
from helpers.pictures import chunk as png_chunk
from helpers.pictures import pillow_bytes, plain_tags, png_of, read_bytes, rows_of, tiff_bytes, tiff_of, with_chunks
from PIL import Image as Pillow

import fusekit
from fusekit.errors import InputError

GREY, RGB = texture(1), texture(2, channels=3)
GREY16, RGB16 = texture(1, depth="uint16"), texture(2, channels=3, depth="uint16")
CMYK = np.dstack([texture(seed) for seed in (3, 4, 5, 6)])
SIZE = GREY.shape


def as_pillow_converts(inks: np.ndarray) -> np.ndarray:
    return np.asarray(Pillow.fromarray(inks, "CMYK").convert("RGB"))


# --- CMYK --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("planar", [False, True])
def test_cmyk_tiff(tmp_path: Path, compression: str | None, planar: bool) -> None:
    stored = np.moveaxis(CMYK, -1, 0) if planar else CMYK
    config = "separate" if planar else "contig"
    data = tiff_bytes(stored, photometric="separated", planarconfig=config, compression=compression)
    image = read_bytes(tmp_path, data)
    assert image.notes == ("CMYK converted to RGB",)
    np.testing.assert_array_equal(image.pixels, as_pillow_converts(CMYK))


def test_cmyk_tiff_of_pillow_and_of_16_bits(tmp_path: Path) -> None:
    image = read_bytes(tmp_path, pillow_bytes(RGB, "TIFF", "CMYK"))
    np.testing.assert_array_equal(image.pixels, RGB)
    inks = CMYK.astype(np.uint16) * 257
    image = read_bytes(tmp_path, tiff_bytes(inks, photometric="separated"))
    assert image.depth == "uint16"
    assert np.abs(image.pixels / 257 - as_pillow_converts(CMYK)).max() <= 0.5 + 1 / 257
    black = np.zeros((4, 4, 4), np.uint16)
    black[..., 3] = 65535
    assert not read_bytes(tmp_path, tiff_bytes(black, photometric="separated")).pixels.any()


def test_a_cmyk_source_is_not_black(tmp_path: Path) -> None:
    (tmp_path / "cmyk.tif").write_bytes(pillow_bytes(RGB, "TIFF", "CMYK"))
    fused = fusekit.fuse([tmp_path / "cmyk.tif", GREY], "pixel", rule="mean")
    plain = fusekit.fuse([RGB, GREY], "pixel", rule="mean")
    np.testing.assert_array_equal(fused.image, plain.image)
    assert fused.record["sources"][0]["notes"] == ["CMYK converted to RGB"]


def jpeg_of_inks(stored: np.ndarray, transform: int | None) -> bytes:
    """Return a JPEG of four channels, with Adobe's marker that names the transform or without one."""
    data = imagecodecs.jpeg8_encode(stored, level=100, colorspace="CMYK", outcolorspace="CMYK", subsampling="444")
    kept, at = [data[:2]], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        kept += [data[at:end]] if data[at + 1] != 0xEE else []
        at = end
    marker = (
        b""
        if transform is None
        else b"\xff\xee" + struct.pack(">H", 14) + b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    )
    return kept[0] + marker + b"".join(kept[1:]) + data[at:]


def test_adobes_jpegs_are_inverted(tmp_path: Path) -> None:
    image = read_bytes(tmp_path, jpeg_of_inks(255 - CMYK, 0))
    assert image.notes == ("CMYK converted to RGB",)
    assert np.abs(image.pixels.astype(int) - as_pillow_converts(CMYK)).max() <= 6


def test_ycck_jpegs(tmp_path: Path) -> None:
    # Adobe's transform 2: cyan, magenta and yellow, taken for R, G and B, as YCbCr; the black inverted beside them.
    ycc = np.asarray(Pillow.fromarray(np.ascontiguousarray(CMYK[..., :3])).convert("YCbCr"))
    image = read_bytes(tmp_path, jpeg_of_inks(np.dstack([ycc, 255 - CMYK[..., 3]]), 2))
    assert np.abs(image.pixels.astype(int) - as_pillow_converts(CMYK)).max() <= 8


def test_four_channels_without_adobes_marker_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a JPEG of four channels without Adobe's marker"):
        read_bytes(tmp_path, jpeg_of_inks(CMYK, None))


# --- white is zero, palettes, YCbCr ------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["uint8", "uint16", "uint32", "bool"])
def test_white_is_zero(tmp_path: Path, depth: str) -> None:
    stored = {"uint8": GREY, "uint16": GREY16, "uint32": GREY16.astype(np.uint32) << 16, "bool": GREY > 100}[depth]
    image = read_bytes(tmp_path, tiff_bytes(stored, photometric="miniswhite"))
    assert "white-is-zero inverted" in image.notes
    right = ~stored if depth == "bool" else np.iinfo(depth).max - stored
    np.testing.assert_array_equal(
        image.pixels,
        right.astype(np.float32) if depth == "uint32" else right * np.uint8(255) if depth == "bool" else right,
    )


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_white_is_zero_of_values_without_a_black(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(InputError, match=f"has white at zero and holds {dtype}, so that nobody knows its black"):
        read_bytes(tmp_path, tiff_bytes(GREY.astype(dtype), photometric="miniswhite"))


def test_white_is_zero_leaves_the_alpha_alone(tmp_path: Path) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[:5] = 0
    data = tiff_bytes(
        np.dstack([GREY, alpha]), photometric="miniswhite", planarconfig="contig", extrasamples=["unassalpha"]
    )
    image = read_bytes(tmp_path, data)
    np.testing.assert_array_equal(image.pixels, np.where(alpha > 0, 255 - GREY, 0))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("scale", [1, 256, 257, 0])
def test_tiff_palettes(tmp_path: Path, bits: int, scale: int) -> None:
    indices = GREY16 >> (16 - bits)
    entries = np.random.default_rng(bits).integers(0, 256, (3, 2**bits)).astype(np.uint16)
    colors = entries.T.astype(np.uint8)
    if scale == 0:
        entries = np.random.default_rng(bits).integers(300, 65536, (3, 2**bits)).astype(np.uint16)
        colors = entries.T
    tags = {**plain_tags(SIZE, 3, bits=bits), 320: ("H", tuple((entries * (scale or 1)).reshape(-1).tolist()))}
    packed = rows_of(indices, bits)
    width = len(packed) // SIZE[0]
    data = b"".join(packed[row * width + 1 : (row + 1) * width] for row in range(SIZE[0]))
    image = read_bytes(tmp_path, tiff_of(tags, data, big_endian=True))
    assert image.notes == ("palette expanded",)
    np.testing.assert_array_equal(image.pixels, colors[indices])


def test_palettes_of_pillow_and_with_alpha(tmp_path: Path) -> None:
    picture = Pillow.fromarray(RGB).quantize(20)
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF")
    np.testing.assert_array_equal(read_bytes(tmp_path, buffer.getvalue()).pixels, np.asarray(picture.convert("RGB")))
    entries = tuple((np.random.default_rng(1).integers(0, 256, 768) * 256).tolist())
    alpha = np.where(GREY > 100, 255, 0).astype(np.uint8)
    tags = {**plain_tags(SIZE, 3, 2), 320: ("H", entries), 338: ("H", (2,))}
    image = read_bytes(tmp_path, tiff_of(tags, np.dstack([GREY, alpha]).tobytes()))
    assert image.notes == ("palette expanded", "alpha composited over black")
    colors = np.array(entries).reshape(3, 256).T >> 8
    np.testing.assert_array_equal(image.pixels, np.where(alpha[..., None] > 0, colors[GREY], 0))


def test_a_palette_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a damaged TIFF file .*palette"):
        read_bytes(tmp_path, tiff_of(plain_tags(SIZE, 3), GREY.tobytes()))
    raw = rows_of(np.full((4, 4), 3, np.uint8))
    data = png_of((4, 4), 8, 3, raw, before=[png_chunk(b"PLTE", bytes(9))])
    with pytest.raises(InputError, match="its pixels name colours that its palette lacks"):
        read_bytes(tmp_path, data)


def test_ycbcr_tiff_as_jfif_has_it(tmp_path: Path) -> None:
    ycc = np.asarray(Pillow.fromarray(RGB).convert("YCbCr"))
    tags = {**plain_tags(SIZE, 6, 3), 530: ("H", (1, 1))}
    image = read_bytes(tmp_path, tiff_of(tags, ycc.tobytes()))
    assert image.notes == ("YCbCr converted to RGB",)
    assert np.abs(image.pixels.astype(int) - np.asarray(Pillow.fromarray(ycc, "YCbCr").convert("RGB"))).max() <= 2


def test_ycbcr_tiff_of_video(tmp_path: Path) -> None:
    # BT.709 in its range of 16 to 235: white, black and red, by the equations of the recommendation.
    tags = {
        **plain_tags((2, 3), 6, 3),
        529: ("2I", (2126, 10000, 7152, 10000, 722, 10000)),
        530: ("H", (1, 1)),
        532: ("2I", (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)),
    }
    row = [(235, 128, 128), (16, 128, 128), (63, 102, 240)]
    image = read_bytes(tmp_path, tiff_of(tags, np.array([row, row], np.uint8).tobytes()))
    assert np.abs(image.pixels[0].astype(int) - [[255, 255, 255], [0, 0, 0], [255, 0, 0]]).max() <= 2


@pytest.mark.parametrize("subsampling", [(2, 2), None])
def test_subsampled_chroma_without_jpeg(tmp_path: Path, subsampling: tuple[int, int] | None) -> None:
    tags = plain_tags(SIZE, 6, 3)
    if subsampling:
        tags[530] = ("H", subsampling)
    with pytest.raises(InputError, match="holds YCbCr values whose chroma is subsampled; save it as RGB"):
        read_bytes(tmp_path, tiff_of(tags, bytes(SIZE[0] * SIZE[1] * 3)))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_jpeg_in_tiff(tmp_path: Path, subsampling: tuple[int, int]) -> None:
    smooth = np.asarray(Pillow.fromarray(texture(7, 6, 6, 3)).resize((48, 40), Pillow.Resampling.BICUBIC))
    for tile in (None, (16, 16)):
        data = tiff_bytes(
            smooth,
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": 100},
            subsampling=subsampling,
            tile=tile,
        )
        image = read_bytes(tmp_path, data)
        assert np.abs(image.pixels.astype(int) - smooth).mean() <= 3
    grey = read_bytes(tmp_path, tiff_bytes(smooth[..., 0], compression="jpeg", compressionargs={"level": 100}))
    assert np.abs(grey.pixels.astype(int) - smooth[..., 0]).max() <= 3
    inks = np.ascontiguousarray(np.dstack([smooth, smooth[..., :1]]))
    buffer = io.BytesIO()
    Pillow.fromarray(inks, "CMYK").save(buffer, "TIFF", compression="jpeg", quality=95)
    with Pillow.open(buffer) as opened:
        right = np.asarray(opened.convert("RGB"))
    assert np.abs(read_bytes(tmp_path, buffer.getvalue()).pixels.astype(int) - right).max() <= 2


# --- refused by name, or taken for what libtiff takes it for -------------------------------------------------------

OTHERS = {
    8: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
    4: "MASK",
    32803: "CFA",
    32844: "LOGL",
    32845: "LOGLUV",
    34892: "LINEAR_RAW",
    999: "unknown",
}


@pytest.mark.parametrize("number", OTHERS)
def test_what_values_are_not_read_as(tmp_path: Path, number: int) -> None:
    channels = 1 if number in (4, 32803, 32844) else 3
    data = tiff_of(plain_tags(SIZE, number, channels), bytes(SIZE[0] * SIZE[1] * channels))
    with pytest.raises(InputError, match=rf"holds {OTHERS[number]} \({number}\) values; save it as grey or RGB"):
        read_bytes(tmp_path, data)


def test_inks_that_are_not_cmyk(tmp_path: Path) -> None:
    tags = {**plain_tags(SIZE, 5, 4), 332: ("H", (2,))}
    with pytest.raises(InputError, match="holds inks that are not those of CMYK"):
        read_bytes(tmp_path, tiff_of(tags, CMYK.tobytes()))


def test_what_says_nothing(tmp_path: Path) -> None:
    for channels, pixels, called in ((1, GREY, "grey"), (3, RGB, "RGB")):
        tags = plain_tags(SIZE, 0, channels)
        del tags[262]
        image = read_bytes(tmp_path, tiff_of(tags, pixels.tobytes()))
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.notes == (f"taken for {called}, as it does not say what it is",)
    tags = plain_tags(SIZE, 0, 4)
    del tags[262]
    with pytest.raises(InputError, match="does not say what its values stand for"):
        read_bytes(tmp_path, tiff_of(tags, CMYK.tobytes()))


# --- profiles and gamma --------------------------------------------------------------------------------------------


def test_profiles_and_gamma_are_left_alone(tmp_path: Path) -> None:
    profile = bytes(200)
    note = ("ICC profile left alone",)
    for pixels, kind in ((RGB, "PNG"), (GREY, "TIFF"), (RGB, "TIFF")):
        image = read_bytes(tmp_path, pillow_bytes(pixels, kind, icc_profile=profile))
        assert image.notes == note
        np.testing.assert_array_equal(image.pixels, pixels)
    plain = read_bytes(tmp_path, pillow_bytes(RGB, "JPEG"))
    told = read_bytes(tmp_path, pillow_bytes(RGB, "JPEG", icc_profile=profile))
    assert (plain.notes, told.notes) == ((), note)
    np.testing.assert_array_equal(plain.pixels, told.pixels)
    gamma = png_chunk(b"gAMA", struct.pack(">I", 100000))
    for pixels in (GREY, GREY16, RGB16):
        stored = imagecodecs.png_encode(pixels)
        image = read_bytes(tmp_path, with_chunks(stored, gamma))
        assert image.notes == ("gamma left alone",)
        np.testing.assert_array_equal(image.pixels, pixels)
