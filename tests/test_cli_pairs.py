"""``fusekit fuse --pairs``: folders matched by name, resumable, and going on past what cannot be fused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helper import SHARED, Outcome, run_cli, truncate, write_texture

from fusekit.batch.run import find_jobs
from fusekit.errors import InputError
from fusekit.images.files import read_image

NAMES = ["01", "02", "03", "04"]
MANY = [f"{number:02}" for number in range(14)]
CT, MRI, OUT = Path("ct"), Path("mri"), Path("out")


@pytest.fixture(autouse=True)
def _in_a_folder_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_pairs(NAMES)


def make_pairs(names: list[str], size: int = 16) -> None:
    for number, name in enumerate(names):
        write_texture(CT / f"{name}.png", number, size, size)
        write_texture(MRI / f"{name}.png", 100 + number, size, size)


def fuse_pairs(*options: str, output: str = "out") -> Outcome:
    return run_cli(["fuse", "--pairs", "ct", "mri", "-o", output, "--rule", "mean", *options])


def outputs() -> set[str]:
    return {path.name for path in OUT.iterdir()}


def with_records(names: list[str]) -> set[str]:
    return {f"{name}.png" for name in names} | {f"{name}.png.json" for name in names}


def assert_refused(outcome: Outcome, message: str) -> None:
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("fusekit: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


# --- what is fused -----------------------------------------------------------------------------------------------


def test_all_pairs_are_fused() -> None:
    assert fuse_pairs() == (0, "out: 4 fused\n", "")
    assert outputs() == with_records(NAMES)
    record = json.loads((OUT / "03.png.json").read_text(encoding="utf-8"))
    assert [source["path"] for source in record["sources"]] == ["ct/03.png", "mri/03.png"]
    assert read_image(OUT / "03.png").size == (16, 16)


def test_three_folders_and_no_record() -> None:
    for name in NAMES:
        write_texture(Path("pet") / f"{name}.png", 7, 16, 16, channels=3)
    outcome = run_cli(["fuse", "--pairs", "ct", "mri", "pet", "-o", "out", "--rule", "mean", "--no-record"])
    assert outcome == (0, "out: 4 fused\n", "")
    assert outputs() == {f"{name}.png" for name in NAMES}
    assert read_image(OUT / "01.png").color


def test_a_bad_pair_is_told_at_the_end_and_the_others_are_done() -> None:
    truncate(MRI / "02.png")
    (CT / "04.png").unlink()
    code, out, err = fuse_pairs()
    assert (code, out) == (1, "out: 2 fused, 2 failed\n")
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("fusekit: 02: mri/02.png is a damaged PNG file")
    assert lines[1] == "fusekit: 04: missing from folder 1 of 2"
    assert outputs() == with_records(["01", "03"])


def test_a_second_run_skips_what_is_there() -> None:
    fuse_pairs()
    stamps = {path: path.stat().st_mtime_ns for path in OUT.iterdir()}
    (OUT / "02.png").unlink()
    assert fuse_pairs() == (0, "out: 1 fused, 3 there already\n", "")
    changed = {path.name for path in OUT.iterdir() if path.stat().st_mtime_ns != stamps[path]}
    assert changed == with_records(["02"])
    assert fuse_pairs("--overwrite") == (0, "out: 4 fused\n", "")


@pytest.mark.parametrize(
    "options", [("--rule", "max"), ("--bit-depth", "16"), ("--color", "gray"), ("--encoder-option", "dilations=1,2,3")]
)
def test_other_settings_are_warned_of(options: tuple[str, str]) -> None:
    fuse_pairs()
    code, out, err = fuse_pairs(*options)
    assert (code, out) == (0, "out: 4 there already\n")
    assert err.startswith("fusekit: warning: 4 images that were there already, among them 01, were made with other")
    assert err.count("\n") == 1
    assert fuse_pairs(*options, "--overwrite").err == ""
    assert fuse_pairs(*options).err == ""


def test_json_summary() -> None:
    truncate(MRI / "02.png")
    fuse_pairs()
    (OUT / "01.png").unlink()
    code, out, err = fuse_pairs("--json")
    summary = json.loads(out)
    assert code == 1
    assert summary["done"] == ["01"]
    assert summary["skipped"] == ["03", "04"]
    assert list(summary["failed"]) == ["02"]
    assert not summary["interrupted"]
    assert err.startswith("fusekit: 02: ")


# --- matching ----------------------------------------------------------------------------------------------------


def test_names_from_text_and_json() -> None:
    Path("names.txt").write_text("03.png\n\n01\n")
    assert fuse_pairs("--names", "names.txt").out == "out: 2 fused\n"
    assert outputs() == with_records(["01", "03"])
    Path("splits.json").write_text(json.dumps({"ct-mri": {"test": ["02.png", "09.png"]}}))
    code, out, err = fuse_pairs("--names", "splits.json#/ct-mri/test")
    assert (code, out) == (1, "out: 1 fused, 1 failed\n")
    assert err == "fusekit: 09: missing from folder 1, 2 of 2\n"
    assert_refused(fuse_pairs("--names", "splits.json#/ct-mri/train"), "'train' is not among its keys (test)")
    assert_refused(fuse_pairs("--names", "splits.json"), "is not a list of file names")
    assert_refused(fuse_pairs("--names", "absent.txt"), "cannot read the list of names absent.txt")


def test_extensions_may_differ() -> None:
    for name in NAMES:
        (MRI / f"{name}.png").unlink()
        write_texture(MRI / f"{name}.TIF", 9, 16, 16)
    assert fuse_pairs() == (0, "out: 4 fused\n", "")
    assert outputs() == with_records(NAMES)


def test_two_files_of_one_name_are_refused() -> None:
    write_texture(MRI / "02.tif", 9, 16, 16)
    assert_refused(fuse_pairs(), "mri holds both 02.png and 02.tif; keep one of them")


@pytest.mark.parametrize(
    ("folders", "output", "message"),
    [
        (["ct", "mri"], "mri", "the output folder mri is one of the sources"),
        (["ct", "mri"], "ct/../mri/", "is one of the sources"),
        (["ct", "mri"], "ct/01.png", "cannot make the folder ct/01.png"),
        (["ct", "absent"], "out", "there is no folder absent"),
        (["ct", "ct/01.png"], "out", "there is no folder ct/01.png"),
        (["ct", "."], "out", "no file name is in all of ct, ."),
        (["ct"], "out", "fusing needs two or more folders, and only ct was given"),
    ],
)
def test_folders_that_cannot_be_fused(folders: list[str], output: str, message: str) -> None:
    assert_refused(run_cli(["fuse", "--pairs", *folders, "-o", output]), message)


def test_the_test_pairs_of_the_shared_data() -> None:
    harvard = SHARED / "data" / "harvard"
    if not harvard.is_dir():
        pytest.skip("the shared data are not here; FUSEKIT_SHARED names their folder")
    folders = [harvard / "ct-mri" / name for name in ("ct", "mri")]
    jobs = find_jobs(folders, OUT, f"{harvard / 'splits.json'}#/ct-mri/test")
    assert len(jobs) == 38
    assert all(path is not None and path.stem == job.name for job in jobs for path in job.sources)
    with pytest.raises(InputError, match="has no part"):
        find_jobs(folders, OUT, f"{harvard / 'splits.json'}#/ct-mri/absent")


# --- interruption ------------------------------------------------------------------------------------------------


def start(names: list[str]) -> subprocess.Popen[str]:
    """Start a run in a process of its own; its size and rule make it last some seconds."""
    make_pairs(names, 112)
    code = "from fusekit.cli.main import run; run()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "fuse", "--pairs", "ct", "mri", "-o", "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_outputs(process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(OUT.glob("*.png"))) < count:
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_whole() -> list[str]:
    """Check that every image in the output folder opens and has its record, and return their names."""
    images = sorted(OUT.glob("*.png"))
    for path in images:
        assert read_image(path).size == (112, 112)
        json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
    strange = outputs() - with_records([path.stem for path in images])
    assert all(name.startswith(".") or name.endswith(".png.json") for name in strange)
    return [path.stem for path in images]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_run_leaves_whole_files_and_goes_on() -> None:
    process = start(MANY)
    wait_for_outputs(process, 2)
    process.kill()
    process.communicate()
    there = assert_whole()
    assert 2 <= len(there) < len(MANY)
    stale = OUT / f".13.png~{socket.gethostname()}-{process.pid}.fusekit-partial"
    stale.write_bytes(b"half")
    code, out, err = run_cli(["fuse", "--pairs", "ct", "mri", "-o", "out"])
    assert (code, err) == (0, "")
    assert out == f"out: {len(MANY) - len(there)} fused, {len(there)} there already\n"
    assert outputs() == with_records(MANY)
    assert assert_whole() == MANY


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_an_interrupted_run_says_so() -> None:
    process = start(MANY)
    wait_for_outputs(process, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "fusekit: interrupted; the same command goes on where this one stopped\n"
    there = assert_whole()
    assert out == f"out: {len(there)} fused\n"
    assert not [name for name in outputs() if name.startswith(".")]
