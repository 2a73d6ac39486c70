"""Channels beyond those of the colour: alpha where the file says so, of both kinds; refused where it does not."""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from helpers.cli import run_cli, texture
from helpers.pictures import chunk, pillow_bytes, png_of, read_bytes, rows_of, tiff_bytes
from PIL import Image as Pillow

from fusekit.errors import InputError
from fusekit.images.image import from_pixels

DEPTHS = ("uint8", "uint16", "float32")


def white_of(depth: str) -> float:
    return 1.0 if depth == "float32" else float(np.iinfo(depth).max)


def parts(depth: str, color: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (H, W, C) and an alpha (H, W) of all values."""
    colors = texture(1, channels=3 if color else 0, depth=depth)
    return colors if color else colors[..., None], texture(9, depth=depth)


def tiff_with(colors: np.ndarray, *extra: np.ndarray, kinds: list[str], planar: bool = False) -> bytes:
    pixels = np.dstack([colors, *extra])
    return tiff_bytes(
        np.moveaxis(pixels, -1, 0) if planar else pixels,
        photometric="rgb" if colors.shape[-1] == 3 else "minisblack",
        planarconfig="separate" if planar else "contig",
        extrasamples=kinds,
    )


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("depth", DEPTHS)
def test_alpha_of_both_kinds(tmp_path: Path, depth: str, color: bool, planar: bool) -> None:
    colors, alpha = parts(depth, color)
    over = colors * (alpha / white_of(depth)).astype(np.float64)[..., None]
    over = (over if depth == "float32" else np.rint(over)).astype(depth)
    right = over if color else over[..., 0]
    image = read_bytes(tmp_path, tiff_with(colors, alpha, kinds=["unassalpha"], planar=planar))
    assert image.notes == ("alpha composited over black",)
    np.testing.assert_array_equal(image.pixels, right)
    image = read_bytes(tmp_path, tiff_with(over, alpha, kinds=["assocalpha"], planar=planar))
    assert image.notes == ("premultiplied alpha dropped, which is over black already",)
    np.testing.assert_array_equal(image.pixels, right)
    opaque = np.full_like(alpha, white_of(depth))
    image = read_bytes(tmp_path, tiff_with(colors, opaque, kinds=["unassalpha"], planar=planar))
    assert image.notes == ("opaque alpha dropped",)
    np.testing.assert_array_equal(image.pixels, colors if color else colors[..., 0])


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    ("color", "kinds"),
    [
        (False, ["unspecified"]),
        (True, ["unspecified"]),
        (False, ["unassalpha", "unspecified"]),
        (False, ["unspecified", "unspecified", "unspecified"]),
        (True, ["unspecified", "unassalpha"]),
        (True, ["unassalpha", "unassalpha"]),
        (True, ["unspecified"] * 9),
    ],
)
def test_channels_that_are_no_alpha_are_refused(tmp_path: Path, depth: str, color: bool, kinds: list[str]) -> None:
    colors, extra = parts(depth, color)
    data = tiff_with(colors, *[extra] * len(kinds), kinds=kinds)
    with pytest.raises(InputError, match=rf"holds {len(kinds)} further channels? .* alpha \(ExtraSamples [012, ]+\)"):
        read_bytes(tmp_path, data)


def test_a_second_channel_is_not_multiplied_into_the_first(tmp_path: Path) -> None:
    (tmp_path / "two.tif").write_bytes(tiff_with(*parts("uint8", False), kinds=["unspecified"]))
    (tmp_path / "mri.png").write_bytes(pillow_bytes(texture(2), "PNG"))
    code, out, err = run_cli(["fuse", tmp_path / "two.tif", tmp_path / "mri.png", "-o", tmp_path / "fused.png"])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "two.tif holds 1 further channel that it does not call alpha (ExtraSamples 0); save the channel to" in err
    assert not (tmp_path / "fused.png").exists()


def test_channels_of_which_nothing_is_said(tmp_path: Path) -> None:
    data = bytearray(tiff_with(*parts("uint8", True), kinds=["unassalpha"]))
    # The tag ExtraSamples becomes one that nobody knows.
    at = data.index((338).to_bytes(2, "little") + b"\3\0\1\0\0\0")
    data[at : at + 2] = (339 + 60000).to_bytes(2, "little")
    with pytest.raises(InputError, match=r"holds 1 further channel .* \(ExtraSamples absent\)"):
        read_bytes(tmp_path, data)


def test_premultiplied_values_that_are_not_grey_or_rgb(tmp_path: Path) -> None:
    colors, alpha = parts("uint8", False)
    data = tiff_bytes(
        np.dstack([colors, alpha]), photometric="miniswhite", planarconfig="contig", extrasamples=["assocalpha"]
    )
    with pytest.raises(InputError, match=r"holds MINISWHITE \(0\) values that an alpha channel is multiplied into"):
        read_bytes(tmp_path, data)


def test_alpha_of_floats_lies_between_0_and_1(tmp_path: Path) -> None:
    colors, alpha = parts("float32", True)
    with pytest.raises(
        InputError, match=r"an alpha channel of floats from 0 to 255; those of an alpha lie in \[0, 1\]"
    ):
        read_bytes(tmp_path, tiff_with(colors, alpha * 255, kinds=["unassalpha"]))
    with pytest.raises(InputError, match="is transparent in parts and holds values from -1000, so that nobody knows"):
        read_bytes(tmp_path, tiff_with(colors * 2000 - 1000, alpha, kinds=["unassalpha"]))


@pytest.mark.parametrize("dtype", ["uint32", "float64", "int16"])
def test_alpha_of_other_types(tmp_path: Path, dtype: str) -> None:
    unit, alpha = parts("float32", False)
    scale = {"uint32": 2**32 - 1, "float64": 1, "int16": 2**15 - 1}[dtype]
    colors = (unit.astype(np.float64) * scale).astype(dtype)
    data = tiff_with(colors, (alpha.astype(np.float64) * scale).astype(dtype)[..., None], kinds=["unassalpha"])
    if dtype == "int16":
        with pytest.raises(InputError, match="an alpha channel of type int16, of which nobody knows what is opaque"):
            read_bytes(tmp_path, data)
        return
    image = read_bytes(tmp_path, data)
    assert set(image.notes) == {"alpha composited over black", f"{dtype} read as float32"}
    np.testing.assert_allclose(image.pixels, colors[..., 0] * alpha.astype(np.float64), rtol=1e-6, atol=1e-6 * scale)
    given = from_pixels(np.dstack([colors, (alpha.astype(np.float64) * scale).astype(dtype)]))
    np.testing.assert_allclose(given.pixels, image.pixels, rtol=1e-6)


# --- alpha of PNG and BMP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_png_alpha(tmp_path: Path, depth: str, color: bool) -> None:
    colors, alpha = parts(depth, color)
    image = read_bytes(tmp_path, imagecodecs.png_encode(np.dstack([colors, alpha])))
    right = np.rint(colors * (alpha / white_of(depth))[..., None]).astype(depth)
    np.testing.assert_array_equal(image.pixels, right if color else right[..., 0])
    assert image.notes == ("alpha composited over black",)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png(tmp_path: Path, bits: int) -> None:
    values = texture(1, depth="uint16") >> (16 - bits)
    key = int(values[3, 4])
    data = png_of(values.shape, bits, 0, rows_of(values, bits), before=[chunk(b"tRNS", key.to_bytes(2, "big"))])
    image = read_bytes(tmp_path, data)
    scale = 255 // (2**bits - 1) if bits <= 8 else 1
    np.testing.assert_array_equal(image.pixels, np.where(values == key, 0, values) * scale)
    assert "alpha composited over black" in image.notes
    assert (f"{bits} bit widened to 8" in image.notes) is (bits < 8)


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_the_transparent_colour_of_a_png(tmp_path: Path, depth: str) -> None:
    colors = texture(1, channels=3, depth=depth)
    key = colors[3, 4].copy()
    colors[5:9, 5:9] = key
    colors[0, 0] = [key[0], key[1], key[2] ^ 1]
    bits = 8 * colors.itemsize
    data = png_of(
        colors.shape[:2], bits, 2, rows_of(colors, bits), before=[chunk(b"tRNS", key.astype(">u2").tobytes())]
    )
    image = read_bytes(tmp_path, data)
    hidden = (colors == key).all(axis=-1)
    assert hidden.sum() >= 17
    assert not hidden[0, 0]
    np.testing.assert_array_equal(image.pixels, np.where(hidden[..., None], 0, colors))


def test_a_transparent_colour_that_does_not_occur(tmp_path: Path) -> None:
    values = texture(1, depth="uint16") | 1
    data = png_of(values.shape, 16, 0, rows_of(values, 16), before=[chunk(b"tRNS", b"\0\2")])
    image = read_bytes(tmp_path, data)
    assert image.notes == ("opaque alpha dropped",)
    np.testing.assert_array_equal(image.pixels, values)


def test_interlaced_pngs_of_all_depths(tmp_path: Path) -> None:
    rgb, grey = texture(1, 13, 11, 3), texture(2, 13, 11)
    for pixels, stored in ((grey, pillow_bytes(grey, "PNG")), (rgb, pillow_bytes(rgb, "PNG"))):
        interlaced = interlace(pixels, stored)
        np.testing.assert_array_equal(read_bytes(tmp_path, interlaced).pixels, pixels)
    for channels in (1, 2, 3, 4):
        deep = texture(3, 13, 11, channels, "uint16")
        image = read_bytes(tmp_path, interlace(deep, imagecodecs.png_encode(deep.squeeze())))
        plain = read_bytes(tmp_path, imagecodecs.png_encode(deep.squeeze()))
        np.testing.assert_array_equal(image.pixels, plain.pixels)


def interlace(pixels: np.ndarray, png: bytes) -> bytes:
    """Return a PNG of the same header whose rows are those of the seven passes of Adam7."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    bits, kind = png[24], png[25]
    raw = b""
    for top, left, down, across in passes:
        part = pixels[top::down, left::across]
        if part.size:
            raw += rows_of(part, bits)
    made = png_of(pixels.shape[:2], bits, kind, raw)
    header = chunk(b"IHDR", made[16:28] + b"\1")
    return made[:8] + header + made[33:]


def test_the_alpha_of_a_bmp(tmp_path: Path) -> None:
    colors, alpha = parts("uint8", True)
    height, width = alpha.shape
    rows = np.dstack([colors[..., ::-1], alpha])[::-1].tobytes()
    for compression, masks, right in (
        # Masks that name an alpha; without them the fourth byte of a pixel is reserved and means nothing.
        (3, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), np.rint(colors * (alpha / 255)[..., None])),
        (3, (0xFF0000, 0xFF00, 0xFF, 0), colors),
        (0, (0, 0, 0, 0), colors),
    ):
        header = struct.pack("<IiiHHIIiiII4I", 108, width, height, 1, 32, compression, 0, 0, 0, 0, 0, *masks)
        data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 122) + header.ljust(108, b"\0") + rows
        np.testing.assert_array_equal(read_bytes(tmp_path, data).pixels, right)


def test_transparent_palettes(tmp_path: Path) -> None:
    picture = Pillow.fromarray((texture(1) // 64).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10, 90, 80, 70])
    picture.save(tmp_path / "p.png", transparency=bytes([255, 0, 128, 255]))
    image = read_bytes(tmp_path, (tmp_path / "p.png").read_bytes())
    assert image.notes == ("palette expanded", "alpha composited over black")
    colors = np.array([[0, 0, 0], [0, 0, 0], [5, 100, 5], [90, 80, 70]], np.uint8)
    np.testing.assert_array_equal(image.pixels, colors[texture(1) // 64])
