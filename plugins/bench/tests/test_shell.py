"""``fusekit bench shell``, and what the start of the shell command must not import."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.cli import run_cli

from fusekit.cli.start import uncollected
from fusekit.images import samples
from fusekit_bench.speed.command import PARTS


@pytest.mark.slow
@pytest.mark.process
def test_whole_processes_are_timed(tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    outcome = run_cli(["bench", "shell", "--repeats", 1, "--size", 32, "--json", target])
    assert outcome.code == 0, outcome.err
    assert "| `fusekit fuse`, the whole process |" in outcome.out
    assert outcome.out.startswith("`fusekit bench shell --repeats 1 --size 32`: a 32×32 pair, ehdran, ")
    found = json.loads(target.read_text(encoding="utf-8"))
    seconds = {name: statistics.median(rounds) for name, rounds in found["seconds"].items()}
    assert min(seconds.values()) > 0
    assert found["ratio"]["median"] == pytest.approx(seconds["shell"] / (seconds["torch"] + seconds["fuse"]))
    assert list(found["parts"]) == list(PARTS)
    assert all(taken > 0 for taken in found["parts"].values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repeats", 0], "--repeats is 1 or more"),
        (["--size", "x"], "not 'x'"),
        (["--model", "absent"], "unknown model 'absent'"),
        (["--markdown", "absent/page.md"], "the folder absent does not exist"),
    ],
)
def test_refusals(options: list[object], message: str) -> None:
    outcome = run_cli(["bench", "shell", *options])
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


@pytest.mark.process
def test_fusing_files_needs_no_client_of_the_hub(tmp_path: Path) -> None:
    words = ["fusekit", "fuse", samples.path("ct"), samples.path("mri"), "-o", tmp_path / "fused.png"]
    code = f"""
import sys
sys.argv = {[str(word) for word in words]}
from fusekit.cli.main import run
try:
    run()
finally:
    heavy = ("huggingface_hub", "httpx", "imagecodecs", "tifffile", "matplotlib", "rich", "triton", "scipy")
    print(sorted(set(heavy) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_collector_comes_back() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), uncollected():
        int("x")
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("given", "set_to"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active"), ({"GOMP_SPINCOUNT": "9"}, "None")]
)
def test_threads_wait_as_the_user_says(given: dict[str, str], set_to: str) -> None:
    code = "import os; from fusekit.cli.start import wait_passively as f; f(); print(os.environ.get('OMP_WAIT_POLICY'))"
    kept = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True)
    assert done.stdout == f"{set_to}\n"
