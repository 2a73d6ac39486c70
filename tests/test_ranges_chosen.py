"""Ranges that are chosen, negatives, and values that are no numbers: in fusing, records and ratings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from helpers.cli import run_cli, texture

import fusekit
from fusekit.errors import FusekitWarning, InputError, OptionError
from fusekit.images.files import read_image


def hounsfield(seed: int) -> np.ndarray:
    """Return a picture of values from -1000 to 1000."""
    values = texture(seed, 24, 28).astype(np.float32)
    values = (values - values.min()) / (values.max() - values.min())
    return (values * 2000 - 1000).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return two files of floats from -1000 to 1000."""
    found = [tmp_path / "ct.tif", tmp_path / "mri.tif"]
    for seed, path in enumerate(found):
        tifffile.imwrite(path, hounsfield(seed))
    return found


# --- chosen ranges ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["pixel", "ehdran"])
def test_a_range_that_is_chosen_is_the_same_for_every_model_and_for_ratings(
    files: list[Path], tmp_path: Path, model: str
) -> None:
    """A window that was chosen for fusing is in the record, and found there; without, --data-range says it."""
    chosen = ["window:0:1000", "-1000:1000"]
    fused = fusekit.fuse(files, model, rule="mean", range=chosen, bit_depth="8")
    assert [each["range"] for each in fused.record["sources"]] == [[-500, 500], [-1000, 1000]]
    assert [each["range_choice"] for each in fused.record["sources"]] == chosen
    assert fused.record["doubts"] == []
    output = tmp_path / "fused.png"
    fused.save(output)
    eight = [np.clip((hounsfield(0) + 500) / 1000, 0, 1), (hounsfield(1) + 1000) / 2000]
    metrics = ["ssim", "mse"]
    wanted = pytest.approx(fusekit.evaluate(eight, fused.image, metrics), abs=1e-5)
    assert fusekit.evaluate(files, output, metrics) == wanted
    (tmp_path / "fused.png.json").unlink()
    assert fusekit.evaluate(files, output, metrics, chosen) == wanted
    with pytest.warns(FusekitWarning, match="which are taken for black and white; --data-range LOW:HIGH"):
        others = fusekit.evaluate(files, output, metrics)
    assert others != wanted


def test_a_range_takes_the_place_of_a_models_stretch() -> None:
    """EH-DRAN stretches each source by its own values; a window's outside is cut, and what is within is stretched."""
    ct, mri = hounsfield(0), hounsfield(1)
    fused = fusekit.fuse([ct, mri], "ehdran", range="-500:500", device="cpu")
    cut = [np.clip(each, -500, 500) for each in (ct, mri)]
    np.testing.assert_allclose(fused.image, fusekit.fuse(cut, "ehdran", range="data", device="cpu").image, atol=0.01)


@pytest.mark.parametrize(
    ("ranges", "wanted"),
    [
        (["0:100"], [[0, 100], [0, 100]]),
        (["0:100", "dtype"], [[0, 100], [0, 255]]),
        (["2=0:50"], [[0, 255], [0, 50]]),
        (["data", "1=0:50"], [[0, 50], [0, 252]]),
    ],
)
def test_a_range_for_all_for_each_or_for_one(ranges: list[str], wanted: list[list[float]]) -> None:
    pixels = (np.arange(64, dtype=np.uint8) * 4).reshape(8, 8)
    fused = fusekit.fuse([pixels, pixels.T.copy()], "pixel", range=ranges)
    assert [each["range"] for each in fused.record["sources"]] == wanted
    assert fusekit.fuse([pixels, pixels.T.copy()], "pixel", range="0:100").record["range"] == ["0:100"]


@pytest.mark.parametrize("named", ["2=-500:500", "mri.tif=-500:500"])
def test_the_command_takes_negative_numbers_and_names(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.chdir(files[0].parent)
    command = ["fuse", "ct.tif", "mri.tif", "-o", "out.tif", "--model", "pixel", "--range", "-1000:1000"]
    code, _, err = run_cli([*command, "--range", named])
    assert (code, err) == (0, "")
    record = json.loads(Path("out.tif.json").read_text())
    assert [each["range"] for each in record["sources"]] == [[-1000, 1000], [-500, 500]]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"range": ["0:1", "0:2", "0:3"]}, "--range is given 3 times, and there are 2 sources"),
        ({"range": ["3=0:1"]}, "--range names '3', which is none of the 2 sources"),
        ({"range": ["1=0:1", "1=0:2"]}, "given twice for source 1"),
        ({"range": None}, "range takes a text, or a list of texts, not None"),
        ({"range": {"1": "0:1"}}, "range takes a text, or a list of texts"),
        ({"invert": ["4"]}, "--invert names '4'"),
        ({"invert": 3}, "--invert names '3'"),
        ({"range": ["1=dark"]}, "'dark' is no range"),
        ({"range": "folder"}, "use it with --pairs"),
        ({"nan": "zero"}, "unknown choice 'zero' for nan; choose refuse or background"),
    ],
)
def test_ranges_for_no_source(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fusekit.fuse([np.eye(8, dtype=np.uint8), np.ones((8, 8), np.uint8)], "pixel", **choices)


def test_a_hot_pixel_is_said_in_one_line_and_left_out_by_percentiles(tmp_path: Path) -> None:
    clean = texture(1, 64, 64).astype(np.uint16) * 16
    hot = clean.copy()
    hot[3, 3] = 65535
    other = texture(2, 64, 64)
    tifffile.imwrite(tmp_path / "hot.tif", hot)
    tifffile.imwrite(tmp_path / "other.tif", other)
    command = ["fuse", tmp_path / "hot.tif", tmp_path / "other.tif", "--model", "pixel", "--rule", "max"]
    code, _, err = run_cli([*command, "-o", tmp_path / "auto.tif"])
    assert code == 0
    assert err.count("\n") == 1
    assert (
        "a few as far as 0 and 65535, within the range 0 to 65535; --range percentile:0.1:99.9 leaves them out" in err
    )
    code, _, err = run_cli([*command, "-o", tmp_path / "kept.tif", "--range", "1=percentile:0.1:99.9"])
    assert (code, err) == (0, "")
    likeness = [
        np.corrcoef(read_image(tmp_path / name).pixels.ravel(), clean.ravel())[0, 1]
        for name in ("auto.tif", "kept.tif")
    ]
    assert likeness[1] > likeness[0] + 0.1
    assert json.loads((tmp_path / "kept.tif.json").read_text())["output"]["range"] == [0, 4095]


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Return a folder of two folders, each with a dark and a bright slice in 16 bits."""
    across = np.tile(np.arange(32, dtype=np.uint16), (32, 1))
    for name, levels in (("ct", across), ("mri", across.T)):
        (tmp_path / name).mkdir()
        for factor in (1, 100):
            tifffile.imwrite(tmp_path / name / f"{factor:03}.tif", levels * factor)
    return tmp_path


def fused_series(series: Path, *more: str) -> tuple[Path, str]:
    out = series / "out"
    code, _, err = run_cli(
        ["fuse", "--pairs", series / "ct", series / "mri", "-o", out, "--model", "pixel", "--overwrite", *more]
    )
    assert code == 0, err
    return out, err


def test_bits_are_found_in_all_of_a_folder_and_said_once(series: Path) -> None:
    out, err = fused_series(series)
    assert err.count("\n") == 1
    assert re.search(r"ct.(001|100)\.tif holds 16-bit values up to \d+ and is taken for 12 bits, white being 4095", err)
    records = [json.loads((out / f"{name}.tif.json").read_text()) for name in ("001", "100")]
    assert [each["output"]["range"] for each in records] == [[0, 4095]] * 2
    assert [each["bits_stored"] for record in records for each in record["sources"]] == [12] * 4


@pytest.mark.parametrize(("choice", "brighter"), [("folder", True), ("folder:0:100", True), ("data", False)])
def test_one_range_for_a_folder(series: Path, choice: str, brighter: bool) -> None:
    """A dark and a bright slice keep their difference; an image at a time, it would be stretched away."""
    out, err = fused_series(series, "--range", choice)
    assert err == ""
    dark, bright = (read_image(out / name).pixels.astype(float) for name in ("001.tif", "100.tif"))
    records = [json.loads((out / f"{name}.tif.json").read_text()) for name in ("001", "100")]
    white = [record["output"]["range"][1] for record in records]
    assert bool(dark.max() / white[0] < 0.05 * bright.max() / white[1]) is brighter
    wanted = "data" if choice == "data" else "folder@0.0:3100.0"
    assert [each["range_choice"] for each in records[0]["sources"]] == [wanted] * 2


def test_a_range_of_a_folder_is_the_same_when_a_run_goes_on(series: Path) -> None:
    summary = fusekit.fuse_folders([series / "ct", series / "mri"], series / "out", "pixel", range="folder")
    assert summary.done == ["001", "100"]
    again = fusekit.fuse_folders([series / "ct", series / "mri"], series / "out", "pixel", range="folder")
    assert (again.skipped, again.other_settings) == (["001", "100"], [])


def test_a_range_of_a_folder_of_pages_that_are_chosen(tmp_path: Path) -> None:
    for name in ("ct", "mri"):
        (tmp_path / name).mkdir()
        for number, white in enumerate((100, 200)):
            stack = np.stack([np.full((16, 16), 250, np.uint8), np.full((16, 16), white, np.uint8)])
            stack[:, 0] = 0
            tifffile.imwrite(tmp_path / name / f"{number}.tif", stack, photometric="minisblack")
    folders = [tmp_path / "ct", tmp_path / "mri"]
    fusekit.fuse_folders(folders, tmp_path / "out", "pixel", range="folder", page=2)
    record = json.loads((tmp_path / "out" / "0.tif.json").read_text())
    assert [each["range"] for each in record["sources"]] == [[0, 200]] * 2


def test_a_range_of_a_folder_needs_folders(files: list[Path], tmp_path: Path) -> None:
    done = run_cli(["fuse", *files, "-o", tmp_path / "c.tif", "--range", "folder"])
    assert done.code == 2
    assert "use it with --pairs" in done.err
    (tmp_path / "black").mkdir()
    tifffile.imwrite(tmp_path / "black" / "ct.tif", np.zeros((8, 8), np.uint8))
    (tmp_path / "grey").mkdir()
    tifffile.imwrite(tmp_path / "grey" / "ct.tif", np.eye(8, dtype=np.uint8))
    folders = ["--pairs", tmp_path / "black", tmp_path / "grey", "-o", tmp_path / "out", "--model", "pixel"]
    done = run_cli(["fuse", *folders, "--range", "folder"])
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"the images of {tmp_path / 'black'} have no range of values" in done.err


# --- negatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["pixel", "ehdran"])
@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_an_inverted_source_is_turned_over_and_rated_so(tmp_path: Path, model: str, depth: str) -> None:
    """Of pictures that do not use all of their range, so that black and white are not just their ends."""
    scale = {"uint8": 1, "uint16": 16, "float32": 1 / 255}[depth]
    white = {"uint8": 255, "uint16": 4095, "float32": 1}[depth]
    ct, mri = (((20 + 0.8 * texture(seed, 40, 44)) * scale).astype(depth) for seed in (1, 2))
    paths = {name: tmp_path / f"{name}.tif" for name in ("ct", "negative", "mri")}
    for name, pixels in zip(paths, (ct, (white - ct).astype(depth), mri), strict=True):
        tifffile.imwrite(paths[name], pixels)
    wanted = fusekit.fuse([paths["ct"], paths["mri"]], model, rule="max")
    wanted.save(tmp_path / "wanted.tif")
    command = ["fuse", paths["negative"], paths["mri"], "-o", tmp_path / "out.tif", "--model", model, "--rule", "max"]
    assert run_cli([*command, "--invert", paths["negative"]]).code == 0
    np.testing.assert_allclose(read_image(tmp_path / "out.tif").pixels, wanted.image, atol=1e-5 * white)
    record = json.loads((tmp_path / "out.tif.json").read_text())
    assert [each["inverted"] for each in record["sources"]] == [True, False]
    assert f"inverted within 0 to {white}" in record["sources"][0]["notes"]
    rated = fusekit.evaluate([paths["negative"], paths["mri"]], tmp_path / "out.tif", ["ssim", "qabf"])
    truth = fusekit.evaluate([paths["ct"], paths["mri"]], tmp_path / "wanted.tif", ["ssim", "qabf"])
    assert rated == pytest.approx(truth, abs=1e-5)


def test_what_is_no_number_in_a_negative_is_its_background() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    broken = values.copy()
    broken[0, 0] = np.nan
    fused = fusekit.fuse([broken, np.zeros_like(values)], "pixel", rule="max", nan="background", invert="1")
    assert fused.image[0, 0] == 0
    masked = np.ma.MaskedArray(values, mask=values < 0.1)
    fused = fusekit.fuse([masked, np.zeros_like(values)], "pixel", rule="max", nan="background", invert="1")
    assert not fused.image[masked.mask].any()


# --- values that are no numbers --------------------------------------------------------------------------------------


def broken_picture(seed: int) -> np.ndarray:
    values = texture(seed, 16, 16).astype(np.float32)
    values[0, :3], values[7, 7] = np.nan, np.inf
    return values


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    broken, whole = broken_picture(1), texture(2, 16, 16).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", broken)
    tifffile.imwrite(tmp_path / "b.tif", whole)
    files, output = [tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "c.tif"
    command = ["fuse", *files, "-o", output, "--model", "pixel"]
    code, _, err = run_cli(command)
    assert (code, err.count("\n")) == (2, 1)
    assert "holds 4 values that are NaN or infinite; --nan background takes them for background" in err
    assert run_cli([*command, "--nan", "background"]).code == 0
    record = json.loads((tmp_path / "c.tif.json").read_text())
    assert record["sources"][0]["notes"] == ["4 values that are NaN or infinite taken for background"]
    filled = np.where(np.isfinite(broken), broken, broken[np.isfinite(broken)].min())
    with pytest.warns(FusekitWarning, match="taken for black and white"):
        wanted = fusekit.fuse([filled, whole], "pixel").image
    np.testing.assert_array_equal(read_image(output).pixels, wanted)
    # The record says what became of them; without it the option does.
    tifffile.imwrite(tmp_path / "filled.tif", filled)
    said = ["--data-range", f"{filled.min()}:{filled.max()}", "--metrics", "ssim", "--json"]
    rated = [
        run_cli(["evaluate", first, files[1], "--fused", f"x={output}", *said])
        for first in (files[0], tmp_path / "filled.tif")
    ]
    assert [each.code for each in rated] == [0, 0], rated
    values = [json.loads(each.out)["methods"]["x"]["mean"] for each in rated]
    assert values[0] == pytest.approx(values[1])
    (tmp_path / "c.tif.json").unlink()
    evaluate = ["evaluate", *files, "--fused", output, "--metrics", "ssim"]
    code, _, err = run_cli(evaluate)
    assert code == 2
    assert "a.tif holds 4 values that are NaN or infinite; --nan background" in err
    page = tmp_path / "page.html"
    assert run_cli([*evaluate, "--nan", "background", "--html", page]).code == 0
    assert page.is_file()


@pytest.mark.filterwarnings("ignore::fusekit.errors.FusekitWarning")
@pytest.mark.parametrize("given", [lambda values: values, torch.from_numpy], ids=["array", "tensor"])
def test_arrays_and_tensors_of_values_that_are_no_numbers(given: Callable[[np.ndarray], Any]) -> None:
    broken, whole = given(broken_picture(1)), given(texture(2, 16, 16).astype(np.float32))
    fused = given(np.asarray(whole).copy())
    for call in (
        lambda **more: fusekit.fuse([broken, whole], "pixel", **more),
        lambda **more: fusekit.evaluate([broken, whole], fused, "ssim", **more),
    ):
        with pytest.raises(InputError, match="holds 4 values that are NaN or infinite; --nan background"):
            call()
        call(nan="background")


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_masked_values_are_refused_or_background(depth: str) -> None:
    """Of fusing and of rating: never ignored."""
    values = (np.arange(64).reshape(8, 8) + 10).astype(depth)
    values = values / 100 if depth == "float32" else values
    masked = np.ma.MaskedArray(values, mask=np.arange(64).reshape(8, 8) > 50)
    other, filled = values.T.copy(), masked.filled(values.min())
    if depth == "float32":
        values[7, 7] = np.nan
    for call in (
        lambda: fusekit.fuse([masked, other], "pixel"),
        lambda: fusekit.evaluate([other, masked], other, "ssim"),
    ):
        with pytest.raises(InputError, match=r"13 masked values of 64; nan='background'"):
            call()
    fused = fusekit.fuse([masked, other], "pixel", nan="background")
    np.testing.assert_array_equal(fused.image, fusekit.fuse([filled, other], "pixel").image)
    assert fused.record["sources"][0]["notes"] == ["13 masked values taken for background"]
    rated = fusekit.evaluate([masked, other], fused.image, "ssim", nan="background")
    assert rated == fusekit.evaluate([filled, other], fused.image, "ssim")
    assert fusekit.fuse([np.ma.MaskedArray(other), other.T.copy()], "pixel").record["sources"][0]["notes"] == []
    with pytest.raises(InputError, match="64 masked values of 64"):
        fusekit.fuse([np.ma.masked_all((8, 8), depth), other], "pixel", nan="background")
