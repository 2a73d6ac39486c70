"""``fusekit bench folder`` on few and tiny pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import run_cli
from helpers.forked import fork_what_is_spawned

from fusekit.errors import OptionError
from fusekit.images.files import read_image
from fusekit.machine.memory import resident_bytes
from fusekit_bench.requests import Folder
from fusekit_bench.speed.folder import METHODS, growth, make_pairs


@pytest.mark.slow
@pytest.mark.process
def test_race_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_what_is_spawned(monkeypatch)
    target, page = tmp_path / "found.json", tmp_path / "found.md"
    counts = ["--pairs", 6, "--race", 3, "--rounds", 2, "--workers", 2]
    choices = ["--size", "24x16", "--rule", "mean", "--device", "cpu"]
    outcome = run_cli(["bench", "folder", *counts, *choices, "--json", target, "--markdown", page])
    assert outcome.code == 0, outcome.err
    assert page.read_text(encoding="utf-8") == outcome.out
    assert (
        "`fusekit bench folder --pairs 6 --race 3 --rounds 2 --size 24x16 --rule mean --device cpu --workers 2`"
        in outcome.out
    )
    assert "| folder mode |" in outcome.out
    found = json.loads(target.read_text(encoding="utf-8"))
    assert found["workers"] == 2
    assert found["request"]["size"] == [24, 16]
    race = found["race"]
    assert {name: [each["pairs"] for each in rounds] for name, rounds in race["rounds"].items()} == {
        "folder": [3, 3],
        "loop": [3, 3],
        "core": [3, 3],
        "load": [3, 3],
        "shell": [1, 1],
    }
    rates = {name: [each["pairs"] / each["seconds"] for each in rounds] for name, rounds in race["rounds"].items()}
    for name, text in METHODS.items():
        assert f"| {text} |" in outcome.out
        if name != "folder":
            ratios = sorted(ours / theirs for ours, theirs in zip(rates["folder"], rates[name], strict=True))
            assert ratios[0] <= race["ratio"][name]["median"] <= ratios[1]
    # A process that only fuses tiny images mostly imports torch.
    assert race["ratio"]["shell"]["median"] > race["ratio"]["load"]["median"]
    busy = race["rounds"]["shell"][0]["busy"]
    assert busy > 0.1, "the processors' time of processes that ended counts"
    if resident_bytes() is not None:
        assert found["memory"]["pairs"] == 6
        assert found["memory"]["first"]["median"] > 1 << 20
        assert "| the last tenth |" in outcome.out


def test_all_pairs_differ(tmp_path: Path) -> None:
    make_pairs(tmp_path, 40, (16, 20))
    for side in ("a", "b"):
        files = sorted((tmp_path / side).iterdir())
        assert len(files) == 40
        assert len({path.read_bytes() for path in files}) == 40
        first, last = (read_image(path).pixels for path in (files[0], files[-1]))
        assert first.shape == (16, 20)
        np.testing.assert_array_equal(np.sort(first, axis=None), np.sort(last, axis=None))


def test_growth() -> None:
    held = [10] * 50 + [100] * 49 + [120] + [101] * 800 + [150] + [102] * 99
    found = growth(held)
    assert (found["pairs"], found["settled"]) == (1000, 100)
    assert found["first"] == {"median": 100, "most": 120}
    assert found["last"] == {"median": 102, "most": 150}
    assert found["all_later"] == {"median": 101, "most": 150}
    assert found["growth"] == pytest.approx(0.02)
    assert found["peak_growth"] == pytest.approx(0.25)
    assert growth([7])["growth"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--race", 0], "--race is 1 or more, not 0"),
        (["--size", "8"], "too small to time"),
        (["--json", "absent/found.json"], "the folder absent does not exist"),
        (["--workers", 0], "0 workers cannot fuse"),
        (["--model", "ehdran.absent"], "unknown weights of 'ehdran' 'absent'"),
    ],
)
def test_refusals(options: list[object], message: str) -> None:
    outcome = run_cli(["bench", "folder", "--device", "cpu", *options])
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_a_request_is_of_something() -> None:
    assert (Folder().pairs, Folder().size) == (1000, (256, 256))
    with pytest.raises(OptionError, match="--pairs is 0 or more"):
        Folder(pairs=-1)
