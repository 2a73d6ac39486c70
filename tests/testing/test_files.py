"""The checks of formats and aligners: good ones pass, and each broken one is caught by a finding that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.broken import files, metrics
from helpers.contracts import assert_said, registered
from PIL import Image as Pillow

from fusekit.extend import Grid, Image
from fusekit.registry.discovery import registries
from fusekit.testing import (
    assert_no_findings,
    check_aligner,
    check_format,
)


@pytest.fixture
def toys(tmp_path: Path) -> list[Path]:
    """Return a grey picture, one in colour and a volume of the toy format, with a spacing."""
    paths = []
    for number, shape in enumerate(((9, 8), (9, 8, 3), (5, 9, 8))):
        axes = ("slice", "row", "column") if number == 2 else ("row", "column")
        grid = Grid(shape[:2] if number == 1 else shape, (0.5,) * len(axes), axes=axes)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        paths.append(tmp_path / f"{number}.toy")
        paths[-1].write_bytes(files.GoodFormat().encode(Image(pixels, number == 1, grid), ".toy"))
    return paths


def test_a_good_format_has_no_findings(toys: list[Path]) -> None:
    with registered("formats", files.GoodFormat, extensions=(".toy",)) as name:
        assert check_format(name, toys) == []


def test_a_good_format_of_several_images_has_no_findings(toys: list[Path]) -> None:
    with registered("formats", files.FormatOfTwoPages, extensions=(".toy",)) as name:
        assert check_format(name, toys) == []


@pytest.mark.parametrize(
    ("format_class", "fact"),
    [
        (files.FormatOfAnyFile, "takes a file for its own that begins b'no image"),
        (files.FormatOfAnyFile, "takes an empty folder for one of its series"),
        (files.FormatOfNoPages, "says that 0.toy holds 0 images; pages returns 1 or more"),
        (files.FormatOfTheLastPage, "reads 0.toy otherwise than its first page; read gives the first image of several"),
        (files.FormatOfOtherShapes, "says that 0.toy has the shape (3, 9, 8), and reads (9, 8); channels come last"),
        (files.FormatWithoutOrigin, "reads 0.toy without its origin"),
        (files.FormatOfRests, "reads 0.toy though it was cut short"),
        (files.FormatThatFails, "fails at what is left of 0.toy by EOFError"),
        (files.FormatWithoutNames, "refuses what is left of 0.toy without naming the file"),
        (files.FormatOfOtherValues, "gives back other values of a grey uint8 image of 2 axes in .toy files"),
        (files.FormatOfText, "encodes a grey uint8 image of 2 axes as str; encode returns bytes"),
        (files.FormatInPlace, "changes the image that it writes"),
        (files.FormatOfEightBits, "does not refuse a grey uint16 image of 2 axes in .toy files"),
        (files.FormatOfOtherGrids, "writes 0.toy so that another image comes back: spacing"),
        (files.FormatOfGrey, "reads 1.toy in colour, and says that its files have none"),
        (files.FormatOfPictures, "reads 0.toy with 2 axes, and says that its files have (3,)"),
        (files.FormatOfArrays, "reads 0.toy as ndarray"),
        (metrics.GoodMetric, "is no fusekit.extend.Format"),
    ],
)
def test_broken_formats_are_caught(format_class: type, fact: str, toys: list[Path]) -> None:
    with registered("formats", format_class, extensions=(".toy",)) as name:
        assert_said(check_format(name, toys), f"the format '{name}' of a-test", fact)


def test_files_and_extensions_that_are_not_the_formats_are_caught(toys: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other.toy").write_bytes(b"other")
    with registered("formats", files.GoodFormat, extensions=(".toy",)) as name:
        assert_said(check_format(name, [tmp_path / "other.toy"]), name, "does not take other.toy for one of its files")
    with registered("formats", files.GoodFormat, extensions=("TOY",)) as name:
        assert_said(check_format(name, toys), name, "is registered with extensions=('TOY',)")


def test_the_built_in_format_keeps_the_contract(tmp_path: Path) -> None:
    paths = [tmp_path / f"{mode}.{extension}" for mode in ("L", "RGB") for extension in ("png", "tif", "jpg", "bmp")]
    for path in paths:
        Pillow.linear_gradient("L").convert(path.stem).save(path)
    exif = Pillow.Exif()
    exif[274] = 6
    paths += [tmp_path / "turned.jpg", tmp_path / "stack.tif", tmp_path / "animated.png"]
    pictures = [Pillow.linear_gradient("L").crop((0, 0, 40, side)) for side in (60, 60, 60)]
    pictures[0].save(paths[-3], exif=exif)
    pictures[0].save(paths[-2], save_all=True, append_images=[Pillow.radial_gradient("L"), pictures[1]])
    pictures[0].save(paths[-1], save_all=True, append_images=[Pillow.radial_gradient("L").crop((0, 0, 40, 60))])
    assert_no_findings(check_format("raster", paths))


@pytest.mark.parametrize("name", registries().aligners.names())
def test_the_aligners_that_come_along_keep_the_contract(name: str) -> None:
    assert_no_findings(check_aligner(name))


def test_a_good_aligner_has_no_findings() -> None:
    with registered("aligners", files.GoodAligner) as name:
        assert check_aligner(name) == []


@pytest.mark.parametrize(
    ("aligner", "fact"),
    [
        (files.AlignerInPlace, "changes its inputs"),
        (files.AlignerOfChance, "gives another image every time"),
        (files.AlignerOfOtherGrids, "leaves an array on another grid"),
        (files.AlignerOfNone, "refuses every pair of images"),
        (files.AlignerOfNaN, "gives values that are not finite"),
        (metrics.GoodMetric, "is no fusekit.extend.Aligner"),
    ],
)
def test_broken_aligners_are_caught(aligner: type, fact: str) -> None:
    with registered("aligners", aligner) as name:
        assert_said(check_aligner(name), f"the aligner '{name}' of a-test", fact)
