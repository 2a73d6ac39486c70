"""What is black and white in images that are trained on: found, said where in doubt, and chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from helpers.cli import Outcome, run_cli, texture

from fusekit.train.data import Images, ranges_of, read_without_gaps

TINY = ["--encoder", "dran", "--decoder", "conv3", "--encoder-option", "channels=2", "--perceptual-weight", 0]
QUICK = ["--steps", 1, "--batch", 1, "--crop", 16, "--device", "cpu", "--validation-series", "none"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, pixels: np.ndarray, **choices: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, pixels, **choices)
    return path


def unit(seed: int) -> np.ndarray:
    pixels = texture(seed, 24, 20).astype(np.float64)
    return (pixels - pixels.min()) / (pixels.max() - pixels.min())


def train(*folders: str, more: tuple[object, ...] = ()) -> Outcome:
    return run_cli(["train", *folders, "-o", "run", *TINY, *QUICK, *more])


def data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run", "config.json").read_text())["training"]["data"]
    return found


def warnings_of(done: Outcome) -> list[str]:
    return [line for line in done[2].splitlines() if "warning" in line]


def test_a_doubtful_range_is_said_once_with_the_option_that_settles_it() -> None:
    for number in range(3):
        write(f"hu/{number}.tif", (unit(number) * 2000 - 1000).astype(np.float32))
        write(f"twelve/{number}.tif", np.rint(unit(number) * 4000).astype(np.uint16))
    done = train("hu", "twelve")
    assert done[0] == 0, done[2]
    floats, bits = (line for line in warnings_of(done) if "--range" in line)
    assert "holds values from -1000 to 1000" in floats
    assert "taken for 12 bits" in bits
    assert "range" not in data()


def test_a_chosen_range_is_taken_recorded_and_part_of_the_command() -> None:
    for number in range(2):
        write(f"hu/{number}.tif", (unit(number) * 2000 - 1000).astype(np.float32))
        write(f"mr/{number}.tif", np.rint(unit(number) * 255).astype(np.uint8))
    done = train("hu", "mr", more=("--range", "window:brain", "--range", "auto"))
    assert (done[0], warnings_of(done)) == (0, [])
    assert data()["range"] == ["window:brain", "auto"]
    card = Path("run", "README.md").read_text(encoding="utf-8")
    assert "--range window:brain --range auto" in card
    assert "black and white by window:brain and auto" in card
    refused = train("hu", "mr", more=("--range", "data"))
    assert refused[0] == 2
    assert "was trained with another data" in refused[2]


def test_a_range_becomes_zero_and_one() -> None:
    path = write("a/0.tif", np.array([[-200, 0], [40, 100]] * 2, np.float32))
    loaded = Images("unit", ranges={path: "0:80"}).load(path)
    assert loaded[0, :2].tolist() == [[0.0, 0.0], [0.5, 1.0]]


def test_what_a_folder_holds_is_found_in_all_images_that_are_used() -> None:
    paths = [
        write(f"a/{number}.tif", np.full((4, 4), most, np.uint16)) for number, most in enumerate((900, 3000, 60000))
    ]

    def asked(text: str) -> set[str]:
        return set(ranges_of([Path("a")], [], [text], reader, set(paths[:2])).values())

    def reader(path: Path) -> Any:
        return read_without_gaps(path, background=False, page=None, max_pixels=1 << 20)

    assert asked("auto") == {"auto@12"}
    assert asked("folder") == {"folder@900.0:3000.0"}


@pytest.mark.parametrize("fault", ["nan", "pages", "size"])
def test_values_that_are_no_numbers_pages_and_sizes(fault: str) -> None:
    pixels = unit(1).astype(np.float32)
    if fault == "nan":
        pixels[3, 4] = np.nan
    stack = np.stack([pixels, pixels]) if fault == "pages" else pixels
    write("a/0.tif", stack, photometric="minisblack")
    option, value = {"nan": ("--nan", "background"), "pages": ("--page", 2), "size": ("--max-pixels", 480)}[fault]
    done = train("a", more=("--max-pixels", 479) if fault == "size" else ())
    assert done[0] == 2
    assert option in done[2]
    assert not Path("run").exists()
    done = train("a", more=(option, value))
    assert done[0] == 0, done[2]
    assert fault == "size" or data()[option.removeprefix("--")] == value


def test_a_page_of_files_that_hold_one_is_refused() -> None:
    write("a/0.tif", np.rint(unit(1) * 255).astype(np.uint8))
    done = train("a", more=("--page", 2))
    assert done[0] == 2
    assert "no file holds several pages" in done[2]
