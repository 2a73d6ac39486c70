"""``fusekit bench memory``: peaks of processes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from helpers.cli import run_cli, write_texture

from fusekit.errors import InputError, OptionError
from fusekit_bench.requests import Memory
from fusekit_bench.speed.command import measure_memory, peak_of

pytestmark = pytest.mark.process


def test_the_peak_is_that_of_the_process_alone() -> None:
    """64 MiB more in the child are seen; 256 MiB that its parent holds are not."""
    held = bytearray(b"x" * (256 << 20))
    little = peak_of([sys.executable, "-c", "pass"])[0]
    more = peak_of([sys.executable, "-c", "x = bytearray(b'x' * (64 << 20))"])[0]
    assert len(held) == 256 << 20
    assert little < 100 << 20
    assert 64 << 20 <= more - little < 200 << 20


def test_a_command_that_fails_says_so() -> None:
    with pytest.raises(InputError, match="the measured command failed: no such thing"):
        peak_of([sys.executable, "-c", "import sys; sys.exit('fusekit: error: no such thing')"])
    with pytest.raises(InputError, match="exit code 3"):
        peak_of([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_run_in_tiles_of_given_images(tmp_path: Path) -> None:
    images = [write_texture(tmp_path / f"{i}.png", i, 40, 50) for i in range(2)]
    target = tmp_path / "found.json"
    done = run_cli(["bench", "memory", *images, "--model", "pixel", "--rules", "l1", "--tile", 16, "--json", target])
    found = json.loads(target.read_text(encoding="utf-8"))
    assert (found["size"], found["images"]) == ([40, 50], "given")
    (row,) = found["runs"]
    assert (row["rule"], row["tiles"]["passes"], row["device"]) == ("l1", 2, "cpu")
    assert row["peak"] >= found["torch_alone"] * 0.9 > 50 << 20
    assert "`pixel`, 2 images of 40×50 pixels (given)" in done.out
    assert re.search(r"^\| l1 \| 0\.\d\d \| 12 of 16×16 \| 2 \|", done.out, re.MULTILINE)
    assert sorted(tmp_path.iterdir()) == [*images, target]


def test_what_cannot_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_cli(["bench", "memory", "--size", 32, "--model", "pixel", "--rules", "maxx"])
    assert done.code == 2
    assert "did you mean 'max'" in done.err
    monkeypatch.delattr("os.wait4")
    with pytest.raises(OptionError, match="does not report the peak of a process"):
        measure_memory(Memory(size=32))
