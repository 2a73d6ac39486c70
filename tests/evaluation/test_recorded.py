"""Ranges of what is rated: from the record beside the fused image, the option, or the folder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from helpers.cli import run_cli, texture

import fusekit
from fusekit.errors import FusekitWarning, OptionError
from fusekit.evaluation.compare import compare
from fusekit.images.files import read_image

METRICS = ["ssim", "mse"]


def floats(seed: int) -> np.ndarray:
    return (texture(seed, 24, 28) / 255 * 2000 - 1000).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return two files of floats, and what was fused of them by a window of the first, with its record."""
    paths = [tmp_path / name for name in ("ct.tif", "mri.tif", "fused.tif")]
    for seed, path in enumerate(paths[:2]):
        tifffile.imwrite(path, floats(seed))
    fusekit.fuse(paths[:2], "pixel", rule="mean", range=["window:0:1000", "-1000:1000"]).save(paths[2])
    return paths


def rated(files: list[Path], **choices: Any) -> tuple[dict[str, float], list[str]]:
    """Return the ratings and what was said of them."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = fusekit.evaluate(files[:-1], files[-1], METRICS, **choices)
    return found, [str(each.message) for each in said if issubclass(each.category, FusekitWarning)]


def test_the_record_is_believed_silently(files: list[Path]) -> None:
    found, said = rated(files)
    assert said == []
    same, _ = rated(files, data_range=["-500:500", "-1000:1000", "fused=-500:500"])
    assert found == pytest.approx(same)


def test_a_record_of_another_image_is_not_used_and_said(files: list[Path]) -> None:
    tifffile.imwrite(files[2], read_image(files[2]).pixels + 1)
    found, said = rated(files)
    assert len(said) == 3
    assert said[0] == (
        f"{files[2]}.json tells of another image than {files[2]} is now (its SHA-256 differs), so the ranges in it are "
        "not used; --data-range says them"
    )
    assert "taken for black and white; --data-range LOW:HIGH" in said[1]
    Path(f"{files[2]}.json").unlink()
    assert rated(files) == (found, said[1:])


def test_a_source_that_has_changed_keeps_its_range_and_is_said(files: list[Path]) -> None:
    before, _ = rated(files)
    tifffile.imwrite(files[0], floats(0), compression="zlib")
    after, said = rated(files)
    assert after == before
    assert said == [
        f"{files[0]} has changed since it was fused (its SHA-256 is another than in the record), and is read as its "
        "record says, by the range -500.0:500.0; --data-range says otherwise"
    ]


def test_a_source_under_another_name_is_known_by_its_digest(files: list[Path]) -> None:
    before, _ = rated(files)
    moved = files[0].rename(files[0].with_name("elsewhere.tif"))
    assert rated([moved, *files[1:]]) == (before, [])
    # In any order.
    assert rated([files[1], moved, files[2]])[1] == []


def test_a_choice_for_a_source_that_is_not_rated_is_said(files: list[Path]) -> None:
    tifffile.imwrite(files[0].with_name("other.tif"), floats(5))
    _, said = rated([files[0].with_name("other.tif"), *files[1:]])
    assert (
        f"the image was fused of {files[0]}, which had the range window:0:1000 and is none of the sources that it is "
        "rated against; --data-range says their ranges"
    ) in said


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("range", "wide"), ("range", [1]), ("range", [5, 5]), ("range", ["0", "9"]), ("range", [0, 1e400]),
        ("range_choice", 7), ("range_choice", "window:brian"), ("sha256", ["x"]), ("path", 3), ("inverted", "yes"),
    ],
)  # fmt: skip
def test_records_that_were_tampered_with_are_no_fault(files: list[Path], part: str, value: Any) -> None:
    record_file = Path(f"{files[2]}.json")
    record = json.loads(record_file.read_text())
    record["sources"][0][part] = value
    record["output"].pop("sha256")
    if part == "range":
        record["output"]["range"] = value
    record["sources"].append("nothing")
    record_file.write_text(json.dumps(record))
    assert set(rated(files)[0]) == set(METRICS)


def test_the_option_comes_before_the_record(files: list[Path]) -> None:
    found, _ = rated(files, data_range=["1=-1000:1000"])
    assert found != rated(files)[0]
    same, _ = rated(files, data_range=["-1000:1000", "fused=-500:500"])
    assert found == pytest.approx(same)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["dark"], "'dark' is no range"),
        (["fused=dark"], "'dark' is no range"),
        (["0:1", "0:1", "0:1"], "--data-range is given 3 times, and there are 2 sources"),
        (["fused=0:1", "fused=0:2"], "given twice for the fused image"),
        (["folder"], "the range 'folder' is found from the images of a source's folder; give folders"),
        (["fused=folder"], "the range 'folder' is found"),
    ],
)
def test_ranges_that_cannot_be_are_refused_at_once(files: list[Path], given: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fusekit.evaluate(files[:2], files[2], METRICS, data_range=given)
    options = [word for each in given for word in ("--data-range", each)]
    code, out, err = run_cli(["evaluate", *files[:2], "--fused", files[2], *options])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_float_image_without_a_record_lies_on_the_range_of_a_float_source(files: list[Path]) -> None:
    Path(f"{files[2]}.json").unlink()
    found, said = rated(files)
    (low, high), (least, most) = (
        (float(pixels.min()), float(pixels.max())) for pixels in (read_image(files[n]).pixels for n in (0, 2))
    )
    assert [each for each in said if "has no record" in each] == [
        f"the fused image ({files[2]}) holds values from {least:g} to {most:g} and has no record, and is taken to lie "
        f"on the range of the first source of floats, {low:g} to {high:g}; --data-range fused=LOW:HIGH says otherwise"
    ]
    same, _ = rated(files, data_range=["data", f"fused={low}:{high}"])
    assert found == pytest.approx(same)


# --- folders and methods ---------------------------------------------------------------------------------------------


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Return folders of two sources and of fused images without records, a dark and a bright slice in 16 bits each."""
    folders = [tmp_path / name for name in ("ct", "mri", "out")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        for name, factor in (("dark", 1), ("bright", 15)):
            tifffile.imwrite(folder / f"{name}.tif", texture(seed, 24, 28).astype(np.uint16) * factor)
    return folders


def test_bits_of_a_folder_are_those_of_all_of_its_images(series: list[Path]) -> None:
    with pytest.warns(FusekitWarning, match=r"is taken for 12 bits.*--data-range LOW:HIGH.*\(said once\)"):
        found = compare(series[:2], {"x": series[2]}, METRICS)
    assert found.ranges["x"] == {"bright": [(0, 4095)] * 3, "dark": [(0, 4095)] * 3}
    assert set(found.doubts) == {"bits"}


def test_one_range_for_a_folder(series: list[Path]) -> None:
    found = compare(series[:2], {"x": series[2]}, METRICS, data_range=["folder", "fused=0:4095"])
    most = [float(read_image(folder / "bright.tif").pixels.max()) for folder in series[:2]]
    least = [float(read_image(folder / "dark.tif").pixels.min()) for folder in series[:2]]
    for image in ("dark", "bright"):
        assert found.ranges["x"][image] == [(least[0], most[0]), (least[1], most[1]), (0, 4095)]
    assert found.doubts == {}


def test_methods_that_were_fused_by_other_ranges_are_said(files: list[Path]) -> None:
    other = files[0].with_name("other.tif")
    fusekit.fuse(files[:2], "pixel", rule="max", range=["-1000:1000"]).save(other)
    with pytest.warns(
        FusekitWarning, match="a is rated against .*ct.tif with -500 to 500 as black and white, and b with"
    ):
        found = compare(files[:2], {"a": files[2], "b": other}, METRICS)
    assert set(found.doubts) == {"unlike"}
    same = compare(files[:2], {"a": files[2], "b": other}, METRICS, data_range="-1000:1000")
    assert same.doubts == {}


def test_methods_whose_images_are_of_other_depths_are_said(series: list[Path]) -> None:
    eight = series[2].with_name("eight")
    eight.mkdir()
    for name in ("dark", "bright"):
        tifffile.imwrite(eight / f"{name}.tif", texture(7, 24, 28))
    ranges = ["0:4095", "fused=0:4095"]
    with pytest.warns(FusekitWarning, match=r"x is of uint16 and y of uint8, and metrics .* \(said once\)"):
        found = compare(series[:2], {"x": series[2], "y": eight}, METRICS, data_range=ranges)
    assert set(found.doubts) == {"depths"}
