"""Pages and sizes of the files that are rated: chosen and refused as in fusing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import run_cli, texture
from helpers.pictures import tiff_bytes

import fusekit
from fusekit.errors import InputError, OptionError

SOURCES = [[texture(seed + page, 40, 44) for page in range(3)] for seed in (1, 11)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return two stacks of three pages, and an image fused of their second ones."""
    paths = [tmp_path / "ct.tif", tmp_path / "mri.tif", tmp_path / "fused.tif"]
    for path, stack in zip(paths, SOURCES, strict=False):
        path.write_bytes(tiff_bytes(np.stack(stack), photometric="minisblack"))
    fused = (SOURCES[0][1].astype(np.uint16) + SOURCES[1][1]) // 2
    paths[2].write_bytes(tiff_bytes(fused.astype(np.uint8)))
    return paths


def test_a_page_of_stacks_is_rated(files: list[Path], tmp_path: Path) -> None:
    *sources, fused = files
    right = fusekit.evaluate([SOURCES[0][1], SOURCES[1][1]], fused, ["mse", "ssim"])
    assert fusekit.evaluate(sources, fused, ["mse", "ssim"], page=2) == right
    command = ["evaluate", *sources, "--fused", fused, "--metrics", "mse,ssim", "--json"]
    html = tmp_path / "page.html"
    code, out, err = run_cli([*command, "--page", "2", "--html", html])
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["methods"]["fused"]["mean"] == pytest.approx(right)
    assert told["page"] == 2
    assert html.stat().st_size > 1000
    refused = run_cli([*command, "--page", "4"])
    assert refused.code == 2
    assert "ct.tif has no page 4: it holds 3 pages; choose --page 1 to 3" in refused.err
    assert "ct.tif holds 3 pages; choose one by --page N (1 to 3)" in run_cli(command).err


def test_a_page_that_nothing_has(files: list[Path]) -> None:
    message = "page 2 is asked for, and no file holds several pages; leave --page out"
    with pytest.raises(OptionError, match=message):
        fusekit.evaluate([texture(1, 40, 44)], files[2], "mse", page=2)
    command = ["evaluate", files[2], "--fused", f"again={files[2]}", "--metrics", "mse", "--page", "2"]
    code, out, err = run_cli(command)
    assert (code, out) == (2, "")
    assert message in err
    with pytest.raises(OptionError, match="page takes a whole number of 1 or more, not 0"):
        fusekit.evaluate([texture(1, 40, 44)], files[2], "mse", page=0)


def test_the_size_of_what_is_rated(files: list[Path]) -> None:
    first, _, fused = files
    pixels = 40 * 44
    fusekit.evaluate([first], fused, "mse", page=1, max_pixels=pixels)
    with pytest.raises(
        InputError, match=r"has 40×44 pixels, and no more than 1759 are read; allow more by --max-pixels"
    ):
        fusekit.evaluate([first], fused, "mse", page=1, max_pixels=pixels - 1)
    command = ["evaluate", first, "--fused", fused, "--metrics", "mse", "--page", "1", "--max-pixels"]
    assert "no more than 1759 are read" in run_cli([*command, pixels - 1]).err
    assert run_cli([*command, pixels]).code == 0
    with pytest.raises(OptionError, match="max_pixels takes a whole number of 1 or more, not 0"):
        fusekit.evaluate([first], fused, "mse", max_pixels=0)


def test_folders_of_stacks_with_ranges_over_them(files: list[Path], tmp_path: Path) -> None:
    for folder, path in (("ct", files[0]), ("mri", files[1])):
        (tmp_path / folder).mkdir()
        path.rename(tmp_path / folder / "a.tif")
    folders, out = [tmp_path / "ct", tmp_path / "mri"], tmp_path / "out"
    summary = fusekit.fuse_folders(folders, out, "pixel", rule="mean", page=2, range=["folder"])
    assert summary.done == ["a"]
    record = json.loads((out / "a.tif.json").read_text())
    ends = [[float(stack[1].min()), float(stack[1].max())] for stack in SOURCES]
    assert [each["range"] for each in record["sources"]] == ends
    code, printed, err = run_cli(["evaluate", *folders, "--fused", out, "--metrics", "mse", "--page", "2", "--json"])
    assert (code, list(json.loads(printed)["methods"])) == (0, ["out"]), err
