"""How large an image may be: one rule for every format, held against the header before memory is taken."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from helpers.cli import run_cli, texture, write_texture
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

import fusekit
from fusekit.errors import InputError, OptionError
from fusekit.images.files import read_image
from fusekit.options import MAX_PIXELS

GREY, RGB = texture(1), texture(2, channels=3)
DEEP = texture(2, channels=3, depth="uint16")
#: Bytes to which the small files below would grow, and how many more a process may take while it reads them.
BOMB, ALLOWED = 160 << 20, 80 << 20

FILES = {
    "PNG": pillow_bytes(GREY, "PNG"),
    "PNG in colour": pillow_bytes(RGB, "PNG"),
    "PNG of 16 bits": imagecodecs.png_encode(DEEP),
    "TIFF": tiff_bytes(GREY),
    "TIFF in colour": tiff_bytes(DEEP, photometric="rgb", compression="zlib"),
    "TIFF of planes": tiff_bytes(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate"),
    "TIFF with alpha": tiff_bytes(np.dstack([RGB, GREY]), photometric="rgb", extrasamples=["unassalpha"]),
    "JPEG": pillow_bytes(RGB, "JPEG"),
    "BMP": pillow_bytes(GREY, "BMP"),
}


@pytest.mark.parametrize("name", FILES)
def test_one_rule_for_all_formats(tmp_path: Path, name: str) -> None:
    pixels = GREY.size
    assert read_bytes(tmp_path, FILES[name], max_pixels=pixels).size == GREY.shape
    message = rf"image\.bin has 24×20 pixels, and no more than {pixels - 1} are read; allow more by --max-pixels, or"
    with pytest.raises(InputError, match=message):
        read_bytes(tmp_path, FILES[name], max_pixels=pixels - 1)


def test_of_many_channels_four_values_are_a_pixel(tmp_path: Path) -> None:
    data = tiff_bytes(np.dstack([RGB] * 4), photometric="rgb", planarconfig="contig")
    with pytest.raises(InputError, match="holds 9 further channels"):
        read_bytes(tmp_path, data, max_pixels=GREY.size * 3)
    with pytest.raises(InputError, match="has 24×20 pixels of 12 channels, and no more than 1439 are read"):
        read_bytes(tmp_path, data, max_pixels=GREY.size * 3 - 1)
    volume = tiff_bytes(np.stack([GREY] * 8), volumetric=True, photometric="minisblack")
    assert read_bytes(tmp_path, volume, page=8, max_pixels=GREY.size * 2).size == GREY.shape
    with pytest.raises(InputError, match="has 24×20 pixels of 8 channels"):
        read_bytes(tmp_path, volume, page=8, max_pixels=GREY.size * 2 - 1)


def test_pages_are_measured_one_by_one(tmp_path: Path) -> None:
    data = tiff_bytes(np.stack([GREY] * 3), photometric="minisblack")
    assert read_bytes(tmp_path, data, page=2, max_pixels=GREY.size).size == GREY.shape


def test_90_megapixels_are_read_and_pillow_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = chunk(b"IDAT", zlib.compress(bytes(9000 * 10001), 1))
    data = png_of((9000, 10000), 8, 0, b"").split(b"IDAT")[0][:-4] + rows + chunk(b"IEND", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_bytes(tmp_path, data)
        assert (image.size, image.depth, image.notes) == ((9000, 10000), "uint8", ())
        monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
        for small in FILES.values():
            assert read_bytes(tmp_path, small).size == GREY.shape
    assert MAX_PIXELS == 2**27


# --- files that would grow -----------------------------------------------------------------------------------------


def packed_zeros() -> bytes:
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(BOMB >> 20)), packer.flush()])


def tiff_with(compression: int, data: bytes, **more: tuple[str, tuple[int, ...]]) -> bytes:
    tags = {**plain_tags((64, 64), 1), 259: ("H", (compression,))}
    return tiff_of({**tags, **{int(tag[1:]): value for tag, value in more.items()}}, data)


def jpeg_that_says(height: int, width: int) -> bytes:
    data = bytearray(pillow_bytes(GREY, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_that_says(height: int, width: int) -> bytes:
    data = bytearray(pillow_bytes(GREY, "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def animation(frame: bytes) -> bytes:
    control = struct.pack(">IIIIHHBB", 20, 24, 0, 0, 1, 1, 0, 0)
    frames = [chunk(b"fcTL", struct.pack(">I", 1) + control), chunk(b"fdAT", struct.pack(">I", 2) + frame)]
    before = [chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", struct.pack(">I", 0) + control)]
    return png_of(GREY.shape, 8, 0, rows_of(GREY), before=before, after=frames)


def growing_files() -> dict[str, tuple[bytes, str]]:
    """Return files, and what is said of each; nothing of those that are read."""
    zeros, png = packed_zeros(), pillow_bytes(GREY, "PNG")
    idat = png.index(b"IDAT") - 4
    too_large, too_much = "and no more than 134217728 are read", "its data are more than its size says"
    return {
        "png-size": (png_of((20000, 20000), 16, 6, b""), too_large),
        "png-pixels": (png[:idat] + chunk(b"IDAT", zeros) + chunk(b"IEND", b""), too_much),
        "png-deep": (png_of((64, 64), 16, 6, bytes(1 << 22)), too_much),
        "png-short": (png_of((11000, 11000), 16, 6, bytes(99)), "its data end before its pixels do"),
        "png-profile": (with_chunks(png, chunk(b"iCCP", b"profile\0\0" + zeros)), ""),
        "png-text": (with_chunks(png, chunk(b"zTXt", b"Comment\0\0" + zeros)), ""),
        "png-exif": (with_chunks(png, chunk(b"zTXt", b"Raw profile type exif\0\0" + zeros)), ""),
        "png-xmp": (with_chunks(png, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros)), ""),
        "png-frame": (animation(zeros), ""),
        "jpeg-size": (jpeg_that_says(65000, 65000), too_large),
        "bmp-size": (bmp_that_says(60000, 60000), too_large),
        "bmp-top": (bmp_that_says(-60000, 60000), too_large),
        "bmp-short": (bmp_that_says(11000, 11000), "it ends before its pixels do"),
        "tiff-size": (tiff_of(plain_tags((60000, 60000), 1), bytes(100)), too_large),
        "tiff-short": (tiff_of(plain_tags((11000, 11000), 1), bytes(100)), "its data are less than its size says"),
        "tiff-deflate": (tiff_with(8, zeros), "damaged TIFF"),
        "tiff-old-deflate": (tiff_with(32946, zeros), "damaged TIFF"),
        "tiff-zstd": (tiff_with(50000, imagecodecs.zstd_encode(bytes(BOMB))), "damaged TIFF"),
        "tiff-lzw": (tiff_with(5, imagecodecs.lzw_encode(bytes(BOMB // 8))), too_much),
        "tiff-lzma": (tiff_with(34925, imagecodecs.lzma_encode(bytes(BOMB // 4))), too_much),
        "tiff-packbits": (tiff_with(32773, b"\x81\0" * (BOMB // 128)), "damaged TIFF"),
        "tiff-jpeg": (tiff_with(7, jpeg_that_says(65000, 65000)), "says that it is 65000×65000 pixels"),
        "tiff-tile": (
            tiff_with(8, zeros, t322=("I", (1 << 16,)), t323=("I", (1 << 16,)), t324=("I", (8,)), t325=("I", (9,))),
            "says that a part of its 4096 values has 4294967296",
        ),
        "tiff-depth": (
            tiff_of({**plain_tags((64, 64), 1), 32997: ("I", (1 << 31,))}, bytes(4096)),
            "holds 2147483648 pages",
        ),
        "tiff-channels": (tiff_of(plain_tags((9000, 9000), 1, 9), bytes(9)), "9000×9000 pixels of 9 channels"),
    }


CHILD = """
import json, resource, sys
from pathlib import Path
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
import imagecodecs, tifffile
from fusekit.errors import FusekitError
from fusekit.images.files import read_image
for path in sorted(Path(sys.argv[1]).glob("first.*")):
    read_image(path)
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
said = {}
for path in sorted(Path(sys.argv[1]).glob("*.bomb")):
    try:
        image = read_image(path, page=2 if path.stem == "png-frame" else None)
        said[path.stem] = list(image.size)
    except FusekitError as error:
        said[path.stem] = str(error)
print(json.dumps(said))
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited and read as Linux does")
def test_small_files_that_would_grow_take_little_memory(tmp_path: Path) -> None:
    files = growing_files()
    for name, (data, _) in files.items():
        assert len(data) < 6 << 20, name
        (tmp_path / f"{name}.bomb").write_bytes(data)
    # Read once before the limit, so that each decoder is there.
    for number, data in enumerate((*FILES.values(), tiff_bytes(GREY, compression="zstd"))):
        (tmp_path / f"first.{number}").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), str(ALLOWED)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for name, (_, message) in files.items():
        if message:
            assert message in said[name], (name, said[name])
            assert f"{name}.bomb" in said[name]
        else:
            assert said[name] == list(GREY.shape), (name, said[name])


# --- the option ----------------------------------------------------------------------------------------------------


def test_max_pixels_of_the_command_and_of_python(tmp_path: Path) -> None:
    sources = [write_texture(tmp_path / f"{seed}.png", seed) for seed in (1, 2)]
    command = ["fuse", *sources, "-o", tmp_path / "fused.png", "--model", "pixel", "--rule", "mean"]
    code, printed, err = run_cli([*command, "--max-pixels", "479"])
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert "1.png has 24×20 pixels, and no more than 479 are read; allow more by --max-pixels" in err
    assert run_cli([*command, "--max-pixels", "480"]).code == 0
    record = json.loads((tmp_path / "fused.png.json").read_text())
    assert record["max_pixels"] == 480
    with pytest.raises(InputError, match="no more than 479 are read"):
        fusekit.fuse(sources, "pixel", rule="mean", max_pixels=479)
    for wrong in (0, -5, 1e8, "many", None, True):
        with pytest.raises(OptionError, match="max_pixels takes a whole number of 1 or more"):
            fusekit.FuseOptions(max_pixels=wrong)  # type: ignore[arg-type]
    assert run_cli([*command, "--max-pixels", "0"]).code == 2
    assert read_image(sources[0], max_pixels=10**15).size == GREY.shape
