"""A run over folders that is killed or interrupted leaves whole files, and goes on where it stopped."""

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
from helpers.cli import run_cli
from helpers.pairs import OUT, make_pairs, outputs, with_records

from fusekit.images.files import read_image

pytestmark = [pytest.mark.slow, pytest.mark.process]
MANY = [f"{number:02}" for number in range(14)]


@pytest.fixture(autouse=True)
def _in_a_folder_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
