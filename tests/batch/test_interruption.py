"""Runs over folders that are killed, in each other's way, or short of room leave whole files, and go on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest
from helpers.cli import run_cli
from helpers.forked import Forked
from helpers.limits import remount, small_disk
from helpers.pairs import OUT, make_pairs, outputs, with_records

from fusekit.images.files import read_image

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.skipif(os.name == "nt", reason="needs POSIX")]
MANY = [f"{number:02}" for number in range(14)]
#: At how many moments runs are killed; FUSEKIT_KILLS says how many in earnest.
KILLS = int(os.environ.get("FUSEKIT_KILLS", "4"))


@pytest.fixture(autouse=True)
def _in_a_folder_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(*options: str, largest_file: int | None = None) -> Forked:
    """Start a run in a process of its own; the size of its images and its rule make it last some seconds."""
    code = "from fusekit.cli.main import run; run()"
    return Forked(code, "fuse", "--pairs", "ct", "mri", "-o", "out", *options, largest_file=largest_file)


def wait_for(process: Forked, done: int) -> None:
    """Wait until so many outputs are there, or were made anew since the call, or the run has ended."""
    began, deadline = time.time_ns(), time.monotonic() + 120
    while sum(path.stat().st_mtime_ns > began for path in OUT.glob("*.png")) < done and not process.ended():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_whole() -> list[str]:
    """Check that every image in the output folder opens and is the one that its record tells of; return their names."""
    images = sorted(OUT.glob("*.png"))
    for path in images:
        assert read_image(path).size == (112, 112)
        record = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
        assert record["output"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    strange = outputs() - with_records([path.stem for path in images])
    assert all(name.startswith(".") or name.endswith(".png.json") for name in strange)
    return [path.stem for path in images]


# --- killed and interrupted --------------------------------------------------------------------------------------


def test_a_killed_run_leaves_whole_files_and_goes_on() -> None:
    make_pairs(MANY, 112)
    chance = random.Random(7)
    there: list[str] = []
    for _ in range(KILLS):
        # A whole folder is made anew, whose images must be there all the time.
        again = len(there) == len(MANY)
        process = start(*(["--overwrite"] if again else []), "--rule", "sfnn-local")
        wait_for(process, chance.randrange(3))
        time.sleep(chance.random() * 0.2)
        with contextlib.suppress(ProcessLookupError):  # It may have done them all by now.
            process.send(signal.SIGKILL)
        process.wait()
        before, there = there, assert_whole() if OUT.exists() else []
        assert set(before) <= set(there)
    stale = OUT / f".13.png~77~{socket.gethostname()}-{process.pid}.fusekit-partial"
    stale.write_bytes(b"half")
    code, out, err = run_cli(["fuse", "--pairs", "ct", "mri", "-o", "out", "--rule", "sfnn-local"])
    assert (code, err) == (0, "")
    counts = [f"{len(MANY) - len(there)} fused", f"{len(there)} there already"]
    assert out == f"out: {', '.join(each for each in counts if not each.startswith('0 '))}\n"
    assert outputs() == with_records(MANY)
    assert assert_whole() == MANY


def test_an_interrupted_run_says_so() -> None:
    make_pairs(MANY, 112)
    process = start()
    wait_for(process, 1)
    process.send(signal.SIGINT)
    done = process.wait()
    assert done.returncode == 130
    assert done.stderr == "fusekit: interrupted; the same command goes on where this one stopped\n"
    there = assert_whole()
    assert done.stdout == f"out: {len(there)} fused\n"
    assert not [name for name in outputs() if name.startswith(".")]


# --- in each other's way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_two_runs_into_one_folder_leave_images_with_their_own_records(options: list[str]) -> None:
    make_pairs(MANY, 112)
    processes = [start("--rule", rule, *options) for rule in ("max", "mean")]
    told = [process.wait() for process in processes]
    assert [done.returncode for done in told] == [0, 0]
    assert assert_whole() == MANY
    assert outputs() == with_records(MANY)
    fused = [json.loads((OUT / f"{name}.png.json").read_text())["rule"]["name"] for name in MANY]
    assert set(fused) <= {"max", "mean"}
    for done in told:
        assert done.stdout.startswith("out: ")
        assert done.stderr == "" or done.stderr.startswith("fusekit: warning: ")
        assert done.stderr.count("\n") <= 1


# --- short of room -----------------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_sets_that_have_no_room() -> None:
    make_pairs(MANY, 112)
    with small_disk(OUT, "100k"):
        code, out, err = run_cli(["fuse", "--pairs", "ct", "mri", "-o", "out", "--rule", "mean"])
        there = assert_whole()
        assert 0 < len(there) < len(MANY)
        assert (code, out) == (1, f"out: {len(there)} fused, {len(MANY) - len(there)} failed\n")
        assert len(err.splitlines()) == len(MANY) - len(there)
        assert all(line.endswith(": No space left on device") for line in err.splitlines())
        assert outputs() == with_records(there)
        remount(OUT, "size=2m")
        assert run_cli(["fuse", "--pairs", "ct", "mri", "-o", "out", "--rule", "mean"]).code == 0
        assert assert_whole() == MANY
        assert outputs() == with_records(MANY)


def test_one_image_that_has_no_room_leaves_what_was_there() -> None:
    make_pairs(["01"], 112)
    with small_disk(OUT, "30k"):
        command = ["fuse", "ct/01.png", "mri/01.png", "-o", "out/01.png", "--rule", "mean"]
        assert run_cli(command).code == 0
        before = {path: path.read_bytes() for path in OUT.iterdir()}
        (OUT / "rest").write_bytes(b"\0" * (os.statvfs(OUT).f_bavail * os.statvfs(OUT).f_frsize))
        code, out, err = run_cli([*command, "--overwrite"])
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "No space left on device" in err
        assert {path: path.read_bytes() for path in OUT.iterdir() if path.name != "rest"} == before


def test_a_limit_on_the_size_of_files() -> None:
    make_pairs(["01", "02"], 112)
    done = start("--rule", "mean", largest_file=8000).wait()
    assert (done.returncode, done.stdout) == (1, "out: 2 failed\n")
    lines = [f"fusekit: {name}: cannot write out/{name}.png: File too large" for name in ("01", "02")]
    assert done.stderr.splitlines() == lines
    assert outputs() == set()


def test_a_file_system_that_can_only_be_read() -> None:
    make_pairs(["01"], 112)
    with small_disk(OUT, "100k"):
        remount(OUT, "ro")
        folders = ["fuse", "--pairs", "ct", "mri", "-o"]
        for command, message in (
            ([*folders, "out"], "cannot write in the folder out: Read-only file system (out)"),
            ([*folders, "out/more"], "cannot make the folder out/more: Read-only file system"),
            (["fuse", "ct/01.png", "mri/01.png", "-o", "out/01.png"], "cannot write out/01.png: Read-only file system"),
        ):
            code, printed, err = run_cli(command)
            assert (code, printed, err.count("\n")) == (2, "", 1)
            assert message in err
