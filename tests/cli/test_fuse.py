"""``fusekit fuse A B -o OUT``: what works, and that what does not is one line, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.cli import Outcome, run_cli, texture, truncate, write_texture
from PIL import Image as Pillow

import fusekit
from fusekit.errors import FusekitWarning
from fusekit.images.files import read_image, write_image
from fusekit.images.image import from_pixels
from fusekit.weights.store import save_weights


@pytest.fixture(autouse=True)
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_texture(Path("ct.png"), 1)
    write_texture(Path("mri.png"), 2)
    write_texture(Path("pet.png"), 3, channels=3)


def files() -> set[Path]:
    return {path for path in Path().rglob("*") if path.is_file()}


def assert_refused(arguments: list[str], message: str) -> None:
    before = files()
    code, out, err = run_cli(["fuse", *arguments])
    assert (code, out) == (2, ""), err
    assert err.startswith("fusekit: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert message in err
    assert files() == before


def fused(arguments: list[str]) -> Outcome:
    outcome = run_cli(["fuse", *arguments])
    assert outcome.code == 0, outcome.err
    return outcome


# --- what is refused ---------------------------------------------------------------------------------------------


def make_text() -> None:
    Path("bad.png").write_text("this is no image\n")


def make_truncated() -> None:
    truncate(write_texture(Path("bad.png"), 4))


def make_truncated_tiff() -> None:
    truncate(write_texture(Path("bad.png").with_suffix(".tif"), 4)).rename("bad.png")


def make_empty() -> None:
    Path("bad.png").touch()


def make_one_pixel() -> None:
    Pillow.fromarray(texture(1)[:1, :1]).save("bad.png")


def make_nan() -> None:
    pixels = texture(1, depth="float32")
    pixels[2, 3] = np.nan
    tifffile.imwrite("bad.png", pixels)


def make_larger() -> None:
    write_texture(Path("bad.png"), 4, 26, 20)


def make_folder() -> None:
    Path("bad.png").mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "there is no file bad.png; check the path"),
        (make_text, "bad.png is not an image that fusekit reads"),
        (make_truncated, "bad.png is a damaged PNG file"),
        (make_truncated_tiff, "bad.png is a damaged TIFF file"),
        (make_empty, "bad.png is empty (0 bytes)"),
        (make_one_pixel, "bad.png is 1×1 pixels"),
        (make_nan, "bad.png holds 1 values that are NaN or infinite"),
        (make_larger, "26×20"),
        (make_folder, "bad.png is not a regular file but a folder"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_bad_sources(make: Callable[[], None], message: str, first: bool) -> None:
    make()
    sources = ["bad.png", "mri.png"] if first else ["ct.png", "bad.png"]
    assert_refused([*sources, "-o", "out.png"], message)


def test_sizes_that_differ_name_both_and_the_remedy() -> None:
    make_larger()
    for part in ("ct.png is 24×20", "bad.png (source 2) is 26×20", "--align first"):
        assert_refused(["ct.png", "bad.png", "-o", "out.png"], part)
    fused(["ct.png", "bad.png", "-o", "out.png", "--align", "first"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ct.png", "-o", "out.png"], "fusing needs two or more images, and only ct.png was given"),
        (["-o", "out.png"], "Missing argument"),
        (["ct.png", "mri.png"], "Missing option '-o'"),
        (["ct.png", "mri.png", "-o", "out.png", "--no-such-option"], "No such option"),
        (["ct.png", "mri.png", "-o", "out.png", "--model", "ehdram"], "did you mean 'ehdran'"),
        (["ct.png", "mri.png", "-o", "out.png", "--rule", "meen"], "did you mean 'mean'"),
        (["ct.png", "mri.png", "-o", "out.png", "--weights", "nowhere"], "unknown weights of 'ehdran' 'nowhere'"),
        (["ct.png", "mri.png", "-o", "out.png", "--weights", "no.safetensors"], "there is no weights file"),
        (["ct.png", "mri.png", "-o", "out.png", "--edge", "sobell"], "did you mean 'sobel'?"),
        (["ct.png", "mri.png", "-o", "out.png", "--device", "tpu"], "unknown device 'tpu'"),
        (["ct.png", "mri.png", "-o", "out.png", "--device", "cuda:99"], "there is no device 'cuda:99'"),
        (["ct.png", "mri.png", "-o", "out.png", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["ct.png", "mri.png", "-o", "out.png", "--color", "from:9"], "asks for source 9"),
        (["ct.png", "mri.png", "-o", "out.png", "--color", "red"], "unknown color 'red'"),
        (["ct.png", "mri.png", "-o", "out.png", "--bit-depth", "12"], "unknown bit depth '12'"),
        (["ct.png", "mri.png", "-o", "out.png", "--align", "all"], "unknown aligner 'all'"),
        (["ct.png", "mri.png", "-o", "out.png", "--names", "list.txt"], "add --pairs"),
        (["ct.png", "mri.png", "-o", "out.png", "--rule-option", "weights"], "takes KEY=VALUE, not 'weights'"),
        (["ct.png", "mri.png", "-o", "out.png", "--rule-option", "weights=1,2"], "does not take these options"),
        (["ct.png", "mri.png", "-o", "out.png", "--encoder-option", "depth=1"], "does not take these options"),
        (["ct.png", "mri.png", "-o", "out.xyz"], "name the output .png"),
        (["ct.png", "mri.png", "-o", "absent/out.png"], "the folder absent does not exist; create it first"),
        (["ct.png", "mri.png", "-o", "pet.png/out.png"], "cannot write pet.png/out.png"),
        (["ct.png", "mri.png", "-o", "."], "cannot write ."),
        (["ct.png", "mri.png", "-o", "mri.png"], "the output mri.png is one of the sources"),
        (["ct.png", "mri.png", "-o", "a" * 300 + ".png"], "cannot write aaa"),
        (["ct.png", "mri.png", "-o", "out.jpg", "--bit-depth", "16"], ".jpg files do not hold uint16 images"),
        (["ct.png", "mri.png", "-o", "out.png", "--bit-depth", "float"], "write .tif, or choose --bit-depth 8 or 16"),
    ],
    ids=lambda value: " ".join(value)[-45:] if isinstance(value, list) else "",
)
def test_bad_choices(arguments: list[str], message: str) -> None:
    assert_refused(arguments, message)


@pytest.mark.parametrize("twin", ["ct.png", "./ct.png", "link.png", "hard.png", "folder/../ct.png"])
def test_one_file_is_not_two_of_the_sources(twin: str) -> None:
    Path("link.png").symlink_to("ct.png")
    os.link("ct.png", "hard.png")
    Path("folder").mkdir()
    are = "ct.png is given twice" if Path(twin) == Path("ct.png") else f"ct.png and {Path(twin)} are one file"
    assert_refused(["ct.png", "mri.png", twin, "-o", "out.png"], f"{are}: an image has nothing to add to itself")


def test_two_files_of_the_same_bytes_are_said_and_recorded() -> None:
    shutil.copy("ct.png", "copy.png")
    outcome = fused(["ct.png", "mri.png", "copy.png", "-o", "out.png", "--rule", "mean"])
    text = "ct.png and copy.png hold the same bytes, so one adds nothing to the other; check the paths"
    assert outcome.err == f"fusekit: warning: {text}\n"
    assert json.loads(Path("out.png.json").read_text(encoding="utf-8"))["doubts"] == [text]


def test_many_images_become_one_only_when_asked() -> None:
    slices = [str(write_texture(Path("spect") / f"{number}.png", number)) for number in range(6)]
    message = "6 images are given, spect/0.png to spect/5.png, and they would become one image: to fuse the images of"
    assert_refused([*slices, "-o", "out.png"], message)
    assert_refused([*slices, "-o", "out.png"], "if that is meant, add --many")
    assert_refused(["--pairs", *(["spect"] * 5), "-o", "out"], "5 folders are given")
    assert fused([*slices[:4], "-o", "out.png", "--rule", "mean"]).err == ""
    assert fused([*slices, "-o", "many.png", "--rule", "mean", "--many"]).err == ""
    assert json.loads(Path("many.png.json").read_text(encoding="utf-8"))["many"] is True
    with pytest.warns(FusekitWarning, match="6 sources become one image; --many says that this is meant"):
        fusekit.fuse(slices, "ehdran", rule="mean")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "-o", "out"], "a and the other sources are folders; add --pairs to fuse their images one by one"),
        (
            ["a", "b", "-o", "out.png"],
            "a is not a regular file but a folder; name an image file, or fuse folders with --pairs",
        ),
        (
            ["a", "ct.png", "-o", "out.png"],
            "a is not a regular file but a folder; name an image file, or fuse folders with --pairs",
        ),
        (
            ["ct.png", "a", "-o", "out.png"],
            "a is not a regular file but a folder; name an image file, or fuse folders with --pairs",
        ),
        (["--pairs", "ct.png", "mri.png", "-o", "out"], "ct.png is a file, and --pairs takes folders"),
        (["--pairs", "a", "ct.png", "-o", "out"], "ct.png is a file, and --pairs takes folders"),
        (["--pairs", "a", "b", "-o", "ct.png"], "cannot make the folder ct.png: a file is there; name a folder"),
        (["--pairs", "a", "absent", "-o", "out"], "there is no folder absent; check the path"),
        (["n" * 300, "ct.png", "-o", "out.png"], "cannot read nnn"),
        (["--pairs", "n" * 300, "a", "-o", "out"], "cannot read the folder nnn"),
    ],
)
def test_files_and_folders_in_each_others_place(arguments: list[str], message: str) -> None:
    for folder in ("a", "b"):
        write_texture(Path(folder) / "1.png", 1)
    assert_refused(arguments, message)


def test_depths_that_the_format_does_not_hold() -> None:
    write_image(Path("float.tif"), from_pixels(texture(1, depth="float32")))
    write_image(Path("deep.png"), from_pixels(texture(1, depth="uint16")))
    assert_refused(["float.tif", "mri.png", "-o", "out.png"], ".png files do not hold float32 images")
    assert_refused(["deep.png", "mri.png", "-o", "out.jpg"], ".jpg files do not hold uint16 images")
    fused(["float.tif", "mri.png", "-o", "out.png", "--bit-depth", "8"])
    fused(["deep.png", "mri.png", "-o", "out.png", "--overwrite"])
    assert read_image("out.png").depth == "uint16"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_folder() -> None:
    Path("locked").mkdir(mode=0o500)
    assert_refused(["ct.png", "mri.png", "-o", "locked/out.png"], "no permission to write in locked")


def test_a_record_that_cannot_be_written() -> None:
    Path("out.png.json").mkdir()
    assert_refused(["ct.png", "mri.png", "-o", "out.png"], "cannot write out.png.json: it is a folder")


def test_weights_that_are_damaged_or_of_another_model() -> None:
    from fusekit_ehdran.model import DILRAN

    save_weights(model := DILRAN(), Path("other.safetensors"), model.header)
    assert_refused(
        ["ct.png", "mri.png", "-o", "out.png", "--model", "ehdran", "--weights", "other.safetensors"],
        "other.safetensors holds weights of the model 'dilran', not of 'ehdran'",
    )
    shutil.copy("other.safetensors", "cut.safetensors")
    truncate(Path("cut.safetensors"))
    Path("noise.safetensors").write_bytes(bytes(range(256)) * 8)
    for name in ("cut.safetensors", "noise.safetensors"):
        message = f"{name} is not a readable safetensors file"
        assert_refused(["ct.png", "mri.png", "-o", "out.png", "--weights", name], message)
        assert_refused(["ct.png", "mri.png", "-o", "out.png", "--model", name], message)
    fused(["ct.png", "mri.png", "-o", "out.png", "--model", "other.safetensors"])


def test_an_older_output_survives_a_failure() -> None:
    fused(["ct.png", "mri.png", "-o", "out.png"])
    old = {path: path.read_bytes() for path in files()}
    make_truncated()
    assert run_cli(["fuse", "ct.png", "bad.png", "-o", "out.png", "--overwrite"]).code == 2
    assert {path: path.read_bytes() for path in old} == old


@pytest.mark.process
def test_no_traceback_and_exit_code_from_a_real_process() -> None:
    make_truncated_tiff()
    command = [
        sys.executable,
        "-c",
        "from fusekit.cli.main import run; run()",
        "fuse",
        "ct.png",
        "bad.png",
        "-o",
        "o.png",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("fusekit: error: bad.png is a damaged TIFF file")
    assert done.stderr.count("\n") == 1


# --- what works --------------------------------------------------------------------------------------------------


def test_the_output_is_named_and_has_a_record() -> None:
    assert fused(["ct.png", "mri.png", "-o", "out.png"]) == (0, "out.png\n", "")
    record = json.loads(Path("out.png.json").read_text(encoding="utf-8"))
    assert [Path(source["path"]).name for source in record["sources"]] == ["ct.png", "mri.png"]
    assert record["rule"]["name"] == "sfnn-local"
    assert not [path for path in files() if path.name.startswith(".")]


def test_json_prints_the_record() -> None:
    printed = json.loads(fused(["ct.png", "mri.png", "-o", "out.png", "--json"]).out)
    assert printed.pop("fused") == "out.png"
    assert printed == json.loads(Path("out.png.json").read_text(encoding="utf-8"))


def test_no_record() -> None:
    fused(["ct.png", "mri.png", "-o", "out.png", "--no-record"])
    assert not Path("out.png.json").exists()


@pytest.mark.parametrize("extension", ["tif", "jpg", "bmp", "TIFF"])
def test_other_formats(extension: str) -> None:
    fused(["pet.png", "mri.png", "-o", f"out.{extension}"])
    assert read_image(f"out.{extension}").color


def test_bit_depth_and_color() -> None:
    fused(["pet.png", "mri.png", "-o", "out.png", "--bit-depth", "16", "--color", "gray"])
    image = read_image("out.png")
    assert (image.depth, image.color) == ("uint16", False)
    fused(["mri.png", "pet.png", "-o", "out.tif", "--bit-depth", "float", "--color", "from:2"])
    image = read_image("out.tif")
    assert (image.depth, image.color) == ("float32", True)


def test_options_of_rule_and_encoder() -> None:
    fused(["ct.png", "mri.png", "-o", "out.png", "--rule", "weighted", "--rule-option", "weights=0.7,0.3"])
    record = json.loads(Path("out.png.json").read_text(encoding="utf-8"))
    assert record["rule"] == {"name": "weighted", "options": {"weights": [0.7, 0.3]}}
    fused(["ct.png", "mri.png", "-o", "out.png", "--overwrite", "--encoder-option", "dilations=1,2,3"])
    record = json.loads(Path("out.png.json").read_text(encoding="utf-8"))
    assert record["model"]["config"]["encoder_options"] == {"dilations": [1, 2, 3]}


def test_another_edge_operator_is_warned_of_in_one_line() -> None:
    outcome = fused(["ct.png", "mri.png", "-o", "out.png", "--edge", "sobel"])
    assert outcome.err.startswith("fusekit: warning: ")
    assert outcome.err.count("\n") == 1
    assert "'drgo', not 'sobel'" in outcome.err
    record = json.loads(Path("out.png.json").read_text(encoding="utf-8"))
    assert record["model"]["config"]["edge"] == "sobel"
    assert "sobel" in record["model"]["notes"][0]
