"""One pair in 8 bits, in 12 of 16, and in Hounsfield units: the same fused images and the same ratings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from helpers.cli import run_cli

import fusekit
from fusekit.errors import FusekitWarning, InputError, OptionError
from fusekit.images import samples
from fusekit.images.files import read_image

#: Models, rules, and the share of pixels that may differ by more than a grey level. The rule sfnn-local and the pyramid
#: take each detail from one source: where both are equally strong, what 8 bits round away decides which.
MODELS = [
    ("ehdran", "sfnn-local", 0.005),
    ("ehdran", "sfnn", 0),
    ("ehdran", "max", 0),
    ("dilran", "sfnn-local", 0.005),
    ("dilran", "max", 0),
    ("pixel", "max", 0),
    ("laplacian-pyramid", None, 0.001),
]
#: What becomes of a value of 8 bits, and back.
FORMS: dict[str, tuple[float, float, str]] = {
    "8 bit": (1.0, 0.0, "uint8"),
    "12 bit": (4095 / 255, 0.0, "uint16"),
    "hounsfield": (2000 / 255, -1000.0, "float32"),
}


def stored(unit: np.ndarray, form: str) -> np.ndarray:
    factor, offset, depth = FORMS[form]
    values = unit * factor + offset
    return (np.rint(values) if depth != "float32" else values).astype(depth)


@pytest.fixture(scope="module")
def pair() -> list[np.ndarray]:
    """Two pictures of 64×64 pixels that use all 8 bits."""
    found = []
    for name in ("ct", "mri"):
        pixels = read_image(samples.path(name)).pixels[60:124, 90:154].astype(float)
        found.append(np.rint((pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255))
    return found


@pytest.fixture(scope="module", params=list(FORMS))
def files(request: pytest.FixtureRequest, pair: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("form")
    for name, each in zip(("ct", "mri"), pair, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", stored(each, request.param))
    return request.param, folder


@pytest.mark.filterwarnings("ignore::fusekit.errors.FusekitWarning")
@pytest.mark.parametrize(("model", "rule", "share"), MODELS)
def test_fused_images_are_those_of_8_bits(
    files: Any, pair: list[np.ndarray], model: str, rule: str | None, share: float
) -> None:
    form, folder = files
    factor, offset, depth = FORMS[form]
    fused = fusekit.fuse([folder / "ct.tif", folder / "mri.tif"], model, rule=rule, device="cpu")
    eight = fusekit.fuse([each.astype(np.uint8) for each in pair], model, rule=rule, device="cpu").image
    assert fused.image.dtype == depth
    differing = np.abs((fused.image.astype(float) - offset) / factor - eight) > 1
    assert differing.mean() <= share


@pytest.mark.filterwarnings("ignore::fusekit.errors.FusekitWarning")
@pytest.mark.parametrize("record", [True, False])
def test_ratings_are_those_of_8_bits(files: Any, pair: list[np.ndarray], record: bool) -> None:
    """Of one fused image, written in each form, with its record or alone."""
    form, folder = files
    eight = [each.astype(np.uint8) for each in pair]
    fused = fusekit.fuse(eight, "pixel", rule="mean").image
    output = folder / f"fused-{record}.tif"
    written = fusekit.fuse([folder / "ct.tif", folder / "mri.tif"], "pixel", rule="mean")
    written.save(output, record=record)
    tifffile.imwrite(output, stored(fused.astype(float), form))
    sources = [folder / "ct.tif", folder / "mri.tif"]
    assert fusekit.evaluate(sources, output) == pytest.approx(fusekit.evaluate(eight, fused), abs=1e-3, rel=1e-3)


def evaluated(*arguments: object) -> tuple[Mapping[str, Any], str]:
    code, out, err = run_cli(["evaluate", *arguments, "--metrics", "ssim,mse", "--json"])
    assert code == 0, err
    return json.loads(out), err


def test_the_range_that_was_chosen_is_that_of_the_ratings(tmp_path: Path, pair: list[np.ndarray]) -> None:
    """A window that was chosen for fusing is in the record, and found there; without, --data-range says it."""
    files = [tmp_path / "ct.tif", tmp_path / "mri.tif"]
    for path, each in zip(files, pair, strict=True):
        tifffile.imwrite(path, stored(each, "hounsfield"))
    fused = fusekit.fuse(files, "pixel", rule="mean", range=["window:0:1000", "-1000:1000"], bit_depth="8")
    assert [each["range"] for each in fused.record["sources"]] == [[-500, 500], [-1000, 1000]]
    assert fused.record["doubts"] == []
    fused.save(tmp_path / "fused.png")
    eight = [np.clip((pair[0] * 2000 / 255 - 500) / 1000, 0, 1), pair[1] / 255]
    wanted = fusekit.evaluate(eight, fused.image, ["ssim", "mse"])
    assert fusekit.evaluate(files, tmp_path / "fused.png", ["ssim", "mse"]) == pytest.approx(wanted, abs=1e-5)
    (tmp_path / "fused.png.json").unlink()
    said = ["window:0:1000", "-1000:1000"]
    assert fusekit.evaluate(files, tmp_path / "fused.png", ["ssim", "mse"], said) == pytest.approx(wanted, abs=1e-5)
    with pytest.warns(FusekitWarning, match="which are taken for black and white; --range"):
        others = fusekit.evaluate(files, tmp_path / "fused.png", ["ssim", "mse"])
    assert others["ssim"] != pytest.approx(wanted["ssim"], abs=1e-2)


def test_the_command_says_what_it_guesses_once(tmp_path: Path, pair: list[np.ndarray]) -> None:
    for name in ("a", "b", "fused"):
        (tmp_path / name).mkdir()
        for number in range(3):
            tifffile.imwrite(tmp_path / name / f"{number}.tif", stored(pair[number % 2], "12 bit"))
    folders = [tmp_path / "a", tmp_path / "b", "--fused", f"x={tmp_path / 'fused'}"]
    _, err = evaluated(*folders)
    assert err.count("is taken for 12 bits") == 1
    _, err = evaluated(*folders, "--data-range", "0:4095", "--data-range", "fused=0:4095")
    assert err == ""


def test_one_range_for_a_folder(tmp_path: Path) -> None:
    """A dark and a bright slice keep their difference; an image at a time, a model would stretch it away."""
    levels = np.tile(np.arange(32, dtype=np.uint16), (32, 1))
    for name, slices in (("ct", (1, 100)), ("mri", (1, 100))):
        (tmp_path / name).mkdir()
        for factor in slices:
            tifffile.imwrite(tmp_path / name / f"{factor}.tif", levels * factor)
    for choice, brighter in (("folder", True), ("folder:0:100", True), ("data", False)):
        out = tmp_path / f"out-{choice.replace(':', '-')}"
        done = run_cli(
            ["fuse", "--pairs", tmp_path / "ct", tmp_path / "mri", "-o", out, "--model", "pixel", "--range", choice]
        )
        assert done.code == 0, done.err
        dark, bright = (read_image(out / f"{factor}.tif").pixels.astype(float) for factor in (1, 100))
        scale = [json.loads((out / f"{factor}.tif.json").read_text())["output"]["range"][1] for factor in (1, 100)]
        assert bool(dark.max() / scale[0] < 0.05 * bright.max() / scale[1]) is brighter
        record = json.loads((out / "1.tif.json").read_text())
        wanted = "data" if choice == "data" else "folder@0.0:3100.0"
        assert [each["range_choice"] for each in record["sources"]] == [wanted] * 2
    again = run_cli(
        [
            "fuse",
            "--pairs",
            tmp_path / "ct",
            tmp_path / "mri",
            "-o",
            tmp_path / "out-folder",
            "--model",
            "pixel",
            "--range",
            "folder",
        ]
    )
    assert again.out.strip().endswith("2 there already")
    assert again.err == ""


def test_a_range_of_a_folder_needs_folders(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.eye(8, dtype=np.uint8))
    tifffile.imwrite(tmp_path / "b.tif", np.eye(8, dtype=np.uint8)[::-1].copy())
    done = run_cli(["fuse", tmp_path / "a.tif", tmp_path / "b.tif", "-o", tmp_path / "c.tif", "--range", "folder"])
    assert done.code == 2
    assert "use it with --pairs" in done.err


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


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"range": ["0:1", "0:2", "0:3"]}, "--range is given 3 times, and there are 2 sources"),
        ({"range": ["3=0:1"]}, "--range names '3', which is none of the 2 sources"),
        ({"range": ["1=0:1", "1=0:2"]}, "given twice for source 1"),
        ({"invert": ["4"]}, "--invert names '4'"),
        ({"range": ["1=dark"]}, "'dark' is no range"),
    ],
)
def test_ranges_for_no_source(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fusekit.fuse([np.eye(8, dtype=np.uint8), np.ones((8, 8), np.uint8)], "pixel", **choices)


def test_an_inverted_source_is_turned_over_and_rated_so(tmp_path: Path, pair: list[np.ndarray]) -> None:
    eight = [each.astype(np.uint8) for each in pair]
    tifffile.imwrite(tmp_path / "negative.tif", 255 - eight[0])
    tifffile.imwrite(tmp_path / "mri.tif", eight[1])
    files = [tmp_path / "negative.tif", tmp_path / "mri.tif"]
    code, _, err = run_cli(["fuse", *files, "-o", tmp_path / "out.tif", "--model", "pixel", "--invert", files[0]])
    assert (code, err) == (0, "")
    wanted = fusekit.fuse(eight, "pixel").image
    np.testing.assert_array_equal(read_image(tmp_path / "out.tif").pixels, wanted)
    record = json.loads((tmp_path / "out.tif.json").read_text())
    assert [each["inverted"] for each in record["sources"]] == [True, False]
    assert "inverted within 0 to 255" in record["sources"][0]["notes"]
    rated = fusekit.evaluate(files, tmp_path / "out.tif", "ssim")
    assert rated == pytest.approx(fusekit.evaluate(eight, wanted, "ssim"))


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    values = np.linspace(10, 20, 64, dtype=np.float32).reshape(8, 8)
    broken = values.copy()
    broken[0, :3], broken[7, 7] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", broken)
    tifffile.imwrite(tmp_path / "b.tif", values)
    command = ["fuse", tmp_path / "a.tif", tmp_path / "b.tif", "-o", tmp_path / "c.tif", "--model", "pixel"]
    code, _, err = run_cli(command)
    assert code == 2
    assert "holds 4 values that are NaN or infinite; --nan background takes them for background" in err
    assert run_cli([*command, "--nan", "background"]).code == 0
    record = json.loads((tmp_path / "c.tif.json").read_text())
    assert record["sources"][0]["notes"] == ["4 values that are NaN or infinite taken for background"]
    least = float(np.nanmin(np.where(np.isfinite(broken), broken, np.nan)))
    filled = np.where(np.isfinite(broken), broken, least)
    with pytest.warns(FusekitWarning, match="taken for black and white"):
        wanted = fusekit.fuse([filled, values], "pixel").image
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif").pixels, wanted)


def test_masked_values_are_refused_or_background() -> None:
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) + 10
    masked = np.ma.MaskedArray(values, mask=values > 60)
    other = values.T.copy()
    with pytest.raises(InputError, match=r"13 masked values of 64; nan='background'"):
        fusekit.fuse([masked, other], "pixel")
    fused = fusekit.fuse([masked, other], "pixel", nan="background")
    np.testing.assert_array_equal(fused.image, fusekit.fuse([masked.filled(10), other], "pixel").image)
    assert fused.record["sources"][0]["notes"] == ["13 masked values taken for background"]
    assert fusekit.fuse([np.ma.MaskedArray(values), other], "pixel").record["sources"][0]["notes"] == []
