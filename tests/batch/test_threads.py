"""The threads of folder mode: same results as one at a time, bounded queues, errors that stay with their set."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, texture, truncate, write_texture
from torch import Tensor

import fusekit
from fusekit.batch import threads
from fusekit.batch.capacity import Shares
from fusekit.batch.executor import Outcome
from fusekit.batch.run import Summary, find_cases, fuse_cases
from fusekit.cases.case import Case
from fusekit.errors import InputError, OptionError, PluginError
from fusekit.images.files import read_image, write_image
from fusekit.images.image import from_pixels
from fusekit.machine.memory import available_bytes, resident_bytes
from fusekit.models.base import FusionModel, Joint
from fusekit.options import RunOptions
from fusekit.registry.specs import ModelSpec

CT, MRI, OUT = Path("ct"), Path("mri"), Path("out")


class Watched(Joint):
    """The mean of two sources; it notes each call, may wait in it, and refuses images that are bright all over."""

    spec = ModelSpec(
        "watched", f"{__name__}:Watched", "a test", rule_policy="joint", normalization="unit", n_sources=(2, 2)
    )

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__()
        self.wait, self.running, self.most = wait, 0, 0
        self.batches: list[int] = []
        self.threads: list[int] = []
        self._lock = threading.Lock()

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.batches.append(len(sources[0]))
            self.threads.append(torch.get_num_threads())
        time.sleep(self.wait)
        with self._lock:
            self.running -= 1
        if any(image.min() > 0.9 for image in sources[0]):
            raise InputError("too bright; choose another")
        return torch.stack(sources).mean(0)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> FusionModel:
    return fusekit.load("ehdran", device="cpu")


def make_pairs(count: int, size: int = 16) -> list[Case]:
    for number in range(count):
        write_texture(CT / f"{number:03}.png", number, size, size)
        write_texture(MRI / f"{number:03}.png", 500 + number, size, size)
    return find_cases([CT, MRI], OUT)


def fuse(cases: Sequence[Case], model: FusionModel, **choices: Any) -> Summary:
    OUT.mkdir(exist_ok=True)
    return fuse_cases(cases, model, run=RunOptions(**choices))


def share(monkeypatch: pytest.MonkeyPatch, **values: int) -> None:
    """Let `Shares.of` return these shares."""
    shares = Shares(**{"cores": 4, "at_once": 4, "together": 1, "budget": 1 << 30, **values})
    monkeypatch.setattr(Shares, "of", classmethod(lambda *_: shares))


# --- results -----------------------------------------------------------------------------------------------------


def test_results_are_those_of_one_at_a_time(model: FusionModel) -> None:
    make_pairs(9)
    write_texture(MRI / "003.png", 7, 16, 16, channels=3)
    for folder, seed in ((CT, 1), (MRI, 2)):
        write_image(folder / "004.png", from_pixels(texture(seed, 21, 18, depth="uint16")))
        write_texture(folder / "005.png", seed, 24, 40)
    cases = find_cases([CT, MRI], OUT)
    assert fuse(cases, model, workers=3).done == [case.name for case in cases]
    for case in cases:
        alone = fusekit.fuse([path for path in case.sources if path], model)
        together = read_image(case.target)
        np.testing.assert_array_equal(together.pixels, alone.image)
        record = json.loads(Path(f"{case.target}.json").read_text(encoding="utf-8"))
        del record["output"]["sha256"]
        seconds = record["seconds"]
        assert seconds["total"] >= seconds["fuse"] > 0
        assert seconds["total"] >= seconds["read"] > 0
        for mine, theirs in zip(record["rule_weights"], alone.record["rule_weights"], strict=True):
            np.testing.assert_allclose(mine["mean"], theirs["mean"], atol=2e-6)
        changing = {"seconds", "created", "rule_weights"}
        wanted = json.loads(json.dumps({key: value for key, value in alone.record.items() if key not in changing}))
        assert {key: value for key, value in record.items() if key not in changing} == wanted


def test_sets_of_one_size_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, at_once=1, together=4 * 2 * 256)
    cases = make_pairs(9)
    for folder in (CT, MRI):
        write_texture(folder / "005.png", 3, 18, 16)
    watched = Watched()
    assert len(fuse(cases, watched).done) == 9
    assert watched.batches == [4, 1, 1, 3]


def test_a_set_that_fails_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, at_once=2, together=8 * 2 * 256)
    cases = make_pairs(8)
    write_image(CT / "002.png", from_pixels(np.full((16, 16), 255, np.uint8)))
    truncate(MRI / "006.png")
    summary = fuse(cases, Watched())
    assert summary.done == ["000", "001", "003", "004", "005", "007"]
    assert list(summary.failed) == ["002", "006"]
    assert summary.failed["002"] == "too bright; choose another"
    assert {path.stem for path in OUT.glob("*.png")} == set(summary.done)


def test_names_that_end_alike_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch)
    for number in range(8):
        for folder in (CT, MRI):
            write_texture(folder / f"{number}-{'x' * 60}.png", number, 16, 16)
    summary = fuse(find_cases([CT, MRI], OUT), Watched())
    assert len(summary.done) == 8
    for number in range(8):
        np.testing.assert_array_equal(read_image(OUT / f"{number}-{'x' * 60}.png").pixels, texture(number, 16, 16))


def test_the_summary_is_in_the_order_of_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch)
    cases = make_pairs(12)
    told: list[str] = []
    for name in ("001", "007"):
        OUT.mkdir(exist_ok=True)
        write_texture(OUT / f"{name}.png", 1)
    summary = fuse(cases, Watched(0.002), report=lambda case: told.append(case.name))
    assert summary.done == [case.name for case in cases if case.name not in ("001", "007")]
    assert summary.skipped == ["001", "007"]
    assert sorted(told) == [case.name for case in cases]


# --- sharing the machine -----------------------------------------------------------------------------------------


def test_calls_run_at_once_with_their_share_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, at_once=2)
    watched = Watched(0.02)
    fuse(make_pairs(8), watched)
    assert (watched.most, set(watched.threads)) == (2, {2})


@pytest.mark.parametrize(
    ("pairs", "together", "threads"),
    [(1, 1, [4]), (2, 1, [2, 2]), (3, 1, [2, 2, 4]), (5, 2, [2, 2, 4])],
)
def test_the_last_round_has_all_threads(
    pairs: int, together: int, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    share(monkeypatch, at_once=2, together=together * 2 * 256)
    watched = Watched(0.01)
    fuse(make_pairs(pairs), watched)
    assert watched.threads == threads


def test_a_set_beyond_the_budget_runs_alone_with_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, budget=2 * 256 - 1)
    watched = Watched(0.01)
    assert len(fuse(make_pairs(5), watched).done) == 5
    assert (watched.most, set(watched.threads)) == (1, {4})


def test_reading_does_not_run_ahead_of_fusing(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, at_once=1)
    monkeypatch.setattr(threads, "_WAITING_PIXELS", 10 * 2 * 256)
    read, fused, lead = [0], [0], [0]

    def counted(*arguments: Any) -> Any:
        read[0] += 1
        lead[0] = max(lead[0], read[0] - fused[0])
        return prepare(*arguments)

    def advance(_: Case) -> None:
        fused[0] += 1

    prepare: Any = vars(threads)["prepare"]
    monkeypatch.setattr(threads, "prepare", counted)
    assert len(fuse(make_pairs(80), Watched(0.002), report=advance).done) == 80
    # At most ten wait to be fused and ten to be written, beside those in the hands of threads.
    assert 5 < lead[0] < 30


@pytest.mark.parametrize(("seconds", "wanted"), [(-1.0, 6), (1e9, 0)])
def test_freed_memory_is_released_once_in_a_while(seconds: float, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[bool] = []
    monkeypatch.setattr(threads, "_SECONDS_BETWEEN_RELEASES", seconds)
    monkeypatch.setattr(threads, "release_freed_memory", lambda: released.append(True))
    fuse(make_pairs(6), Watched())
    assert len(released) == wanted


def test_shares_of_a_cpu() -> None:
    cpu = torch.device("cpu")
    shares = Shares.of(cpu)
    assert shares.at_once == min(shares.cores, 8)
    assert Shares.of(cpu, 3).at_once == 3
    eight = Shares(cores=8, at_once=4, together=1, budget=1000)
    assert [eight.threads(pixels) for pixels in (1, 250, 500, 501, 5000)] == [2, 2, 4, 8, 8]
    with pytest.raises(OptionError, match="0 workers cannot fuse"):
        Shares.of(cpu, 0)


# --- ends --------------------------------------------------------------------------------------------------------


def test_an_interrupted_run_tells_of_all_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch)
    cases = make_pairs(60)
    told: list[str] = []

    def report(case: Case) -> None:
        told.append(case.name)
        if len(told) == 3:
            raise KeyboardInterrupt

    summary = fuse(cases, Watched(0.005), report=report)
    assert summary.interrupted
    assert {path.stem for path in OUT.glob("*.png")} == set(summary.done)
    assert 3 <= len(summary.done) < 60
    assert not [path for path in OUT.iterdir() if path.name.startswith(".")]
    summary = fuse(cases, Watched())
    assert len(summary.done) + len(summary.skipped) == 60


@pytest.mark.parametrize("error", [ZeroDivisionError("a mistake"), SystemExit("a mistake"), AssertionError()])
@pytest.mark.parametrize("together", [1, 4])
def test_whatever_a_case_raises_is_its_failure(
    error: BaseException, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(monkeypatch, together=together * 2 * 256)
    cases = make_pairs(6)
    write_image(CT / "002.png", from_pixels(np.full((16, 16), 255, np.uint8)))

    class Broken(Watched):
        def fuse_jointly(self, *sources: Tensor) -> Tensor:
            if any(image.min() > 0.9 for image in sources[0]):
                raise error
            return torch.stack(sources).mean(0)

    summary = fuse(cases, Broken())
    assert summary.done == ["000", "001", "003", "004", "005"]
    assert list(summary.failed) == ["002"]
    assert type(error).__name__ in summary.failed["002"]


def test_what_no_case_is_to_blame_for_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shares, "threads", lambda *_: 1 / 0)
    with pytest.raises(PluginError, match="the executor 'threads' of fusekit-imaging failed: ZeroDivisionError"):
        fuse(make_pairs(20), Watched())
    assert not list(OUT.iterdir())


def test_what_the_report_raises_is_the_users() -> None:
    def report(_: Case) -> None:
        raise ZeroDivisionError("a mistake of the user")

    with pytest.raises(ZeroDivisionError, match="a mistake of the user"):
        fuse(make_pairs(3), Watched(), report=report)


def test_outcomes_are_true_of_skipped_cases() -> None:
    summary = Summary()
    summary.add("a", Outcome("skipped", other_settings=True))
    assert (summary.skipped, summary.other_settings) == (["a"], ["a"])


# --- the two doors -----------------------------------------------------------------------------------------------


def test_fuse_folders_from_python() -> None:
    make_pairs(3)
    summary = fusekit.fuse_folders([CT, "mri"], "out", Watched(), record=False, workers=2)
    assert (summary.done, summary.failed) == (["000", "001", "002"], {})
    assert {path.name for path in OUT.iterdir()} == {"000.png", "001.png", "002.png"}
    with pytest.raises(InputError, match="two or more folders"):
        fusekit.fuse_folders([CT], "out")
    with pytest.raises(InputError, match="there is no folder absent"):
        fusekit.fuse_folders([CT, "absent"], "out")


def test_workers_on_the_command_line() -> None:
    make_pairs(3)
    command = ["fuse", "--pairs", "ct", "mri", "-o", "out", "--rule", "mean", "--workers"]
    assert run_cli([*command, 2]) == (0, "out: 3 fused\n", "")
    assert "0 workers cannot fuse; choose 1 or more" in run_cli([*command, 0]).err
    assert "add --pairs" in run_cli(["fuse", "ct/000.png", "mri/000.png", "-o", "o.png", "--workers", 2]).err


def test_memory_is_told() -> None:
    assert available_bytes() > 1 << 20
    held = resident_bytes()
    assert held is None or held > 1 << 20
    assert resident_bytes(2**22 + 1) is None


# --- as few threads as the system allows -------------------------------------------------------------------------


@pytest.mark.parametrize(("allowed", "at_once"), [(100, 4), (7, 1), (3, 1), (2, 1), (0, 1)])
def test_a_run_makes_do_with_the_threads_that_it_gets(
    monkeypatch: pytest.MonkeyPatch, allowed: int, at_once: int
) -> None:
    share(monkeypatch, cores=1, at_once=4)
    running, start, model = set(threading.enumerate()), threading.Thread.start, Watched(0.02)

    def start_if_allowed(self: threading.Thread) -> None:
        if len(set(threading.enumerate()) - running) >= allowed:
            raise RuntimeError("can't start new thread")
        start(self)

    cases = make_pairs(6)
    monkeypatch.setattr(threading.Thread, "start", start_if_allowed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert fuse(cases, model).done == [case.name for case in cases]
    assert model.most <= at_once
    one_by_one = [str(each.message) for each in said if "allows no more threads" in str(each.message)]
    assert one_by_one == ([] if allowed > 2 else ["the system allows no more threads, so sets are fused one by one"])
