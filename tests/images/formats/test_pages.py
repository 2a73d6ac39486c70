"""Files of several images: stacks, animations, multi-picture files. A page is chosen, or the file is refused."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.cli import run_cli, texture
from helpers.pictures import chunk, exif_of, pillow_bytes, plain_tags, png_of, read_bytes, rows_of, tiff_bytes, tiff_of
from PIL import Image as Pillow

import fusekit
from fusekit.errors import InputError, OptionError

STACK = [texture(seed) for seed in (1, 2, 3)]
DEEP = [texture(seed, depth="uint16") for seed in (1, 2, 3)]
RGB = [texture(seed, channels=3) for seed in (1, 2, 3)]
FLOATS = [texture(seed, depth="float32") for seed in (1, 2, 3)]
IMAGEJ = "ImageJ=1.53t\nimages=3\nslices=3\nloop=false\n"


def pages_of(images: list[np.ndarray], **options: Any) -> bytes:
    """Return a TIFF with a directory an image."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=options.pop("bigtiff", False)) as writer:
        for image in images:
            writer.write(image, photometric="rgb" if image.ndim == 3 else "minisblack", metadata=None, **options)
    return buffer.getvalue()


def in_one_directory(images: list[np.ndarray], description: str = IMAGEJ, **options: Any) -> bytes:
    """Return a TIFF whose further images lie behind the first, as ImageJ writes them."""
    order = options.get("byteorder", "<")
    data = tiff_bytes(images[0], description=description, metadata=None, software=None, **options)
    return data + b"".join(image.astype(image.dtype.newbyteorder(order)).tobytes() for image in images[1:])


def shaped(images: list[np.ndarray], **options: Any) -> bytes:
    color = images[0].ndim == 3
    return tiff_bytes(np.stack(images), photometric="rgb" if color else "minisblack", **options)


def apng(images: list[np.ndarray], **options: Any) -> bytes:
    buffer = io.BytesIO()
    first, *others = map(Pillow.fromarray, images)
    first.save(buffer, "PNG", save_all=True, append_images=others, **options)
    return buffer.getvalue()


def mpo(images: list[np.ndarray], exifs: tuple[int, ...] = ()) -> bytes:
    """Return several JPEGs in one file, each with the orientation that is given for it (CIPA DC-007)."""
    files = [pillow_bytes(image, "JPEG", quality=100, subsampling=0) for image in images]
    for number, orientation in enumerate(exifs):
        files[number] = with_marker(files[number], 0xE1, b"Exif\0\0" + exif_of(orientation))
    # The index lies behind the start of the first file, its own marker, length and name, where offsets begin.
    before = 8 + 2 + 12 * 2 + 4
    first = len(files[0]) + 4 + 4 + before + 16 * len(files)
    offsets = [0, *np.cumsum([first - 10, *map(len, files[1:])])[:-1].tolist()]
    entries = b"".join(
        struct.pack("<IIIHH", 0 if number else 0x030000, len(file), offset, 0, 0)
        for number, (file, offset) in enumerate(zip(files, offsets, strict=True))
    )
    index = b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHII", 0xB001, 4, 1, len(files))
    index += struct.pack("<HHII", 0xB002, 7, len(entries), before) + bytes(4) + entries
    return with_marker(files[0], 0xE2, b"MPF\0" + index) + b"".join(files[1:])


def with_marker(jpeg: bytes, marker: int, data: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + jpeg[2:]


STACKS: dict[str, tuple[list[np.ndarray], bytes]] = {
    "directories": (STACK, pages_of(STACK)),
    "directories of BigTIFF": (DEEP, pages_of(DEEP, bigtiff=True, compression="zlib")),
    "directories in colour": (RGB, pages_of(RGB, compression="lzw")),
    "directories of several sizes": ([STACK[0], STACK[1][:9], DEEP[2]], pages_of([STACK[0], STACK[1][:9], DEEP[2]])),
    "ImageJ": (STACK, in_one_directory(STACK)),
    "ImageJ, big-endian": (DEEP, in_one_directory(DEEP, byteorder=">")),
    "ImageJ, several strips": (DEEP, in_one_directory(DEEP, rowsperstrip=5)),
    "ImageJ, BigTIFF": (FLOATS, in_one_directory(FLOATS, bigtiff=True)),
    "ImageJ, in colour": (RGB, in_one_directory(RGB, photometric="rgb")),
    "ImageJ, by tifffile": (DEEP, tiff_bytes(np.stack(DEEP), imagej=True)),
    "ImageJ, channels": (DEEP, tiff_bytes(np.stack(DEEP), imagej=True, metadata={"axes": "CYX"})),
    "shaped": (STACK, shaped(STACK, truncate=True)),
    "shaped, by older versions": (
        STACK,
        in_one_directory(STACK, json.dumps({"truncated": True, "shape": [3, *STACK[0].shape]})),
    ),
    "shaped, by the oldest": (STACK, in_one_directory(STACK, f"shape={(3, *STACK[0].shape)}")),
    "shaped, with a description": (DEEP, shaped(DEEP, truncate=True, description="a stack")),
    "shaped, several directories": (DEEP, shaped(DEEP, compression="zlib")),
    "shaped, of more axes": (DEEP, tiff_bytes(np.stack(DEEP)[:, None, None], truncate=True, photometric="minisblack")),
    "shaped in colour": (RGB, shaped(RGB, truncate=True)),
    "volume": (STACK, shaped(STACK, volumetric=True)),
    "volume in tiles": (DEEP, shaped(DEEP, volumetric=True, tile=(16, 16, 16), compression="zlib")),
    "APNG": (STACK, apng(STACK)),
    "APNG in colour": (RGB, apng(RGB)),
    "MPO": (RGB, mpo(RGB)),
    "MPO in grey": (STACK, mpo(STACK)),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_refused_or_a_page_of_it_is_read(tmp_path: Path, name: str) -> None:
    images, data = STACKS[name]
    with pytest.raises(InputError, match=r"image\.bin holds 3 pages; choose one by --page N \(1 to 3\), or save it"):
        read_bytes(tmp_path, data)
    for number, right in enumerate(images, start=1):
        image = read_bytes(tmp_path, data, page=number)
        assert (image.depth, image.pixels.shape) == (str(right.dtype), right.shape)
        assert np.abs(image.pixels.astype(float) - right).max() <= (5 if name.startswith("MPO") else 0)
        assert image.notes == (f"page {number} of 3",)
        assert image.origin is not None
        assert image.origin.page == number
    for number in (0, 4, 10**12):
        with pytest.raises(InputError, match=rf"has no page {number}: it holds 3 pages; choose --page 1 to 3"):
            read_bytes(tmp_path, data, page=number)


def test_pillow_sees_the_same_pictures() -> None:
    with Pillow.open(io.BytesIO(mpo(RGB))) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 3)
        opened.seek(2)
        assert np.abs(np.asarray(opened).astype(int) - RGB[2]).max() <= 5


def test_a_single_image_is_read_whatever_the_page(tmp_path: Path) -> None:
    for data in (tiff_bytes(STACK[0]), pillow_bytes(STACK[0], "PNG"), apng(STACK[:1]), mpo(STACK[:1])):
        image = read_bytes(tmp_path, data, page=7)
        assert image.size == STACK[0].shape
        assert image.notes == ()
        assert image.origin is not None
        assert image.origin.page is None


# --- TIFF: what is no page -----------------------------------------------------------------------------------------


def test_reduced_images_and_masks_are_no_pages(tmp_path: Path) -> None:
    small = STACK[0][::2, ::2]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(small, subfiletype=1, metadata=None)
        writer.write(DEEP[0], metadata=None, subifds=2)
        writer.write(DEEP[0][::2, ::2], subfiletype=1, metadata=None)
        writer.write(DEEP[0][::4, ::4], metadata=None)
        writer.write(STACK[1] > 100, subfiletype=4, metadata=None)
    image = read_bytes(tmp_path, buffer.getvalue())
    assert image.notes == ()
    np.testing.assert_array_equal(image.pixels, DEEP[0])
    old = {**plain_tags(STACK[0].shape, 1), 255: ("H", (2,))}
    image = read_bytes(tmp_path, tiff_of(old, STACK[0].tobytes()))
    assert image.notes == ("the file says that it is a reduced version of another image",)


def test_an_image_behind_its_thumbnail(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(STACK[0][::2, ::2], subfiletype=1, metadata=None, subifds=2)
        writer.write(DEEP[0], metadata=None)
        writer.write(DEEP[1][::4, ::4], subfiletype=1, metadata=None)
    image = read_bytes(tmp_path, buffer.getvalue())
    np.testing.assert_array_equal(image.pixels, DEEP[0])


def test_a_description_of_another_file(tmp_path: Path) -> None:
    for description in (IMAGEJ, json.dumps({"shape": [3, *STACK[0].shape]})):
        data = tiff_bytes(STACK[0], description=description, metadata=None, software=None, compression="zlib")
        image = read_bytes(tmp_path, data)
        assert image.notes == ("its description says 3 images, and it holds one",)
        np.testing.assert_array_equal(image.pixels, STACK[0])
    for description in ("ImageJ=1.53t\nimages=1\n", "ImageJ=1.53t\n", json.dumps({"shape": list(STACK[0].shape)}), "{"):
        data = tiff_bytes(STACK[0], description=description, metadata=None, software=None)
        assert read_bytes(tmp_path, data).notes == ()


def test_stacks_that_are_cut_short(tmp_path: Path) -> None:
    for name in ("ImageJ", "shaped", "MPO", "APNG", "directories"):
        _, data = STACKS[name]
        for length in (len(data) - 1, len(data) - 300, len(data) * 2 // 3):
            with pytest.raises(InputError):
                read_bytes(tmp_path, data[:length])
            with pytest.raises(InputError):
                read_bytes(tmp_path, data[:length], page=3)
    with pytest.raises(InputError, match="it says that it holds 3 images, and ends before"):
        read_bytes(tmp_path, in_one_directory(STACK[:2]))


def test_a_chain_that_leads_nowhere_or_back(tmp_path: Path) -> None:
    tags = plain_tags(STACK[0].shape, 1)
    data = bytearray(tiff_of(tags, STACK[0].tobytes()))
    start = int.from_bytes(data[4:8], "little")
    at = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    for target in (len(data) + 100, start):
        data[at : at + 4] = target.to_bytes(4, "little")
        with pytest.raises(InputError, match="damaged TIFF file"):
            read_bytes(tmp_path, data)


def test_stacks_of_metamorph_and_nih_image(tmp_path: Path) -> None:
    tags = plain_tags(STACK[0].shape, 1)
    behind = b"".join(image.tobytes() for image in STACK)
    one = len(STACK[0].tobytes())
    stk = {**tags, 279: ("I", (one,)), 33628: ("I", (0, 0)), 33629: ("2I", (1, 1) * 9)}
    data = bytearray(tiff_of(stk, behind))
    # MetaMorph counts planes, each of three rational numbers.
    at = data.index(struct.pack("<HHI", 33629, 5, 9))
    data[at + 4 : at + 8] = (3).to_bytes(4, "little")
    np.testing.assert_array_equal(read_bytes(tmp_path, data, page=3).pixels, STACK[2])
    header = np.zeros(1, tifffile.TIFF.NIH_IMAGE_HEADER)
    header["FileID"], header["Version"], header["nSlices"] = b"IPICIMAG", 160, 3
    nih = {**tags, 279: ("I", (one,)), 43314: ("B", tuple(header.tobytes()))}
    image = read_bytes(tmp_path, tiff_of(nih, behind), page=2)
    np.testing.assert_array_equal(image.pixels, STACK[1])


# --- PNG and JPEG --------------------------------------------------------------------------------------------------


def test_the_still_of_an_animation_is_a_page_of_its_own(tmp_path: Path) -> None:
    data = apng(RGB, default_image=True)
    images = [read_bytes(tmp_path, data, page=number).pixels for number in (1, 2, 3)]
    np.testing.assert_array_equal(np.stack(images), np.stack(RGB))


def test_frames_are_laid_over_those_before(tmp_path: Path) -> None:
    changed = RGB[0].copy()
    changed[5:9, 3:12] = RGB[1][5:9, 3:12]
    data = apng([RGB[0], changed])
    assert len(data) < 1.5 * len(pillow_bytes(RGB[0], "PNG"))
    np.testing.assert_array_equal(read_bytes(tmp_path, data, page=2).pixels, changed)
    clear = np.dstack([RGB[0], np.full(RGB[0].shape[:2], 255, np.uint8)])
    half = clear.copy()
    half[:4, :, 3] = 0
    image = read_bytes(tmp_path, apng([clear, half], blend=0), page=2)
    assert not image.pixels[:4].any()
    np.testing.assert_array_equal(image.pixels[4:], RGB[0][4:])


def test_an_animation_of_16_bits(tmp_path: Path) -> None:
    control = struct.pack(">IIIIIHHBB", 0, 20, 24, 0, 0, 1, 1, 0, 0)
    before = [chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", control)]
    data = png_of(DEEP[0].shape, 16, 0, rows_of(DEEP[0], 16), before=before)
    np.testing.assert_array_equal(read_bytes(tmp_path, data, page=1).pixels, DEEP[0])
    with pytest.raises(InputError, match="is an animation of 16 bits, of which the first image is read alone"):
        read_bytes(tmp_path, data, page=2)


def test_each_picture_has_its_own_orientation(tmp_path: Path) -> None:
    data = mpo(RGB[:2], (8, 3))
    one, two = (read_bytes(tmp_path, data, page=number) for number in (1, 2))
    assert np.abs(one.pixels.astype(int) - np.rot90(RGB[0], 1)).max() <= 5
    assert np.abs(two.pixels.astype(int) - np.rot90(RGB[1], 2)).max() <= 5


def test_previews_and_gain_maps_are_no_pages(tmp_path: Path) -> None:
    data = bytearray(mpo(RGB[:2]))
    at = data.index(b"MPF\0") + 4
    entries = at + 38
    data[entries + 16 : entries + 20] = struct.pack("<I", 0x010001)
    image = read_bytes(tmp_path, data)
    assert image.notes == ()
    assert np.abs(image.pixels.astype(int) - RGB[0]).max() <= 5
    data[entries + 16 : entries + 20] = bytes(4)
    with pytest.raises(InputError, match="holds 2 pages"):
        read_bytes(tmp_path, data)
    marker = b'http://ns.adobe.com/xap/1.0/\0<rdf hdrgm:Version="1.0"/>'
    mapped = data[:2] + b"\xff\xe1" + struct.pack(">H", len(marker) + 2) + marker + data[2:]
    assert read_bytes(tmp_path, mapped).notes == ("gain map left out",)
    # An index that nobody can read leaves the first picture.
    data[at : at + 4] = b"XX*\0"
    assert read_bytes(tmp_path, data).notes == ("index of several pictures that cannot be read left alone",)


# --- the option ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    (tmp_path / "imagej.tif").write_bytes(in_one_directory(STACK))
    (tmp_path / "mri.png").write_bytes(pillow_bytes(texture(9), "PNG"))
    return [tmp_path / "imagej.tif", tmp_path / "mri.png"]


def test_page_of_the_command_and_in_the_record(sources: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "fused.png"
    command = ["fuse", *sources, "-o", out, "--model", "pixel", "--rule", "mean"]
    code, printed, err = run_cli(command)
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert "imagej.tif holds 3 pages; choose one by --page N (1 to 3), or save it as a file of its own" in err
    assert not out.exists()
    assert run_cli([*command, "--page", "2"]).code == 0
    record = json.loads(Path(f"{out}.json").read_text())
    assert record["page"] == 2
    assert [each["notes"] for each in record["sources"]] == [["page 2 of 3"], []]
    right = fusekit.fuse([STACK[1], texture(9)], "pixel", rule="mean").image
    np.testing.assert_array_equal(fusekit.fuse(sources, "pixel", rule="mean", page=2).image, right)
    assert (
        "imagej.tif has no page 4: it holds 3 pages; choose --page 1 to 3"
        in run_cli([*command, "--page", "4", "--overwrite"]).err
    )


def test_the_preview_shows_the_page(sources: list[Path], tmp_path: Path) -> None:
    shown = tmp_path / "shown.png"
    command = ["fuse", *sources, "-o", tmp_path / "fused.png", "--model", "pixel", "--rule", "mean", "--preview", shown]
    assert run_cli([*command, "--page", "3", "--max-pixels", "480"]).code == 0
    np.testing.assert_array_equal(np.asarray(Pillow.open(shown))[:, :20, 0], STACK[2])


def test_a_page_that_nothing_has(sources: list[Path]) -> None:
    with pytest.raises(OptionError, match="page 2 is asked for, and no file holds several pages; leave --page out"):
        fusekit.fuse([sources[1], texture(1)], "pixel", rule="mean", page=2)
    for wrong in (0, -1, 1.5, "2", True):
        with pytest.raises(OptionError, match="page takes a whole number of 1 or more"):
            fusekit.fuse(sources, "pixel", page=wrong)  # type: ignore[arg-type]


def test_pages_of_folders(tmp_path: Path) -> None:
    for folder, seed in (("ct", 0), ("mri", 5)):
        (tmp_path / folder).mkdir()
        for name, count in (("a", 3), ("b", 2), ("c", 1)):
            data = pages_of([texture(seed + number) for number in range(count)])
            (tmp_path / folder / f"{name}.tif").write_bytes(data)
    folders = [tmp_path / "ct", tmp_path / "mri"]
    summary = fusekit.fuse_folders(folders, tmp_path / "out", "pixel", rule="mean", page=3)
    # One image alone is no choice among several.
    assert summary.done == ["a", "c"]
    assert "b.tif has no page 3: it holds 2 pages" in summary.failed["b"]
    image = tifffile.imread(tmp_path / "out" / "a.tif")
    np.testing.assert_array_equal(image, fusekit.fuse([texture(2), texture(7)], "pixel", rule="mean").image)
    other = fusekit.fuse_folders(folders, tmp_path / "out", "pixel", rule="mean", page=1)
    assert other.other_settings == ["a", "c"]


def test_imagecodecs_and_pillow_see_one_still(tmp_path: Path) -> None:
    data = imagecodecs.apng_encode(np.stack(STACK)) if hasattr(imagecodecs, "apng_encode") else apng(STACK)
    image = read_bytes(tmp_path, data, page=2)
    np.testing.assert_array_equal(image.pixels, STACK[1])
