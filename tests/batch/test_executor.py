"""The contract of executors: what they are given, how what they say is checked, and the two that are built in."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, truncate, write_texture
from helpers.forked import fork_what_is_spawned
from torch import Tensor

import fusekit
from fusekit.batch import executor as executors
from fusekit.batch.executor import CaseFuser, Executor, Outcome, Work
from fusekit.batch.run import Summary, find_cases, fuse_cases
from fusekit.cases.case import Case
from fusekit.errors import InputError, PluginError, UnknownNameError
from fusekit.images.files import read_image, write_image
from fusekit.images.image import from_pixels
from fusekit.listing import list_executors
from fusekit.models.base import FusionModel, Joint
from fusekit.options import FuseOptions, RunOptions
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec

CT, MRI, OUT = Path("ct"), Path("mri"), Path("out")
Report = Callable[[Case, Outcome], None]


class Mean(Joint):
    """The mean of two sources; it ends the process, or so it wishes, where one is white."""

    spec = ModelSpec("mean-of-two", f"{__name__}:Mean", "a test", rule_policy="joint", n_sources=(2, 2))

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        if any(image.min() > 0.99 for image in sources[0]):
            raise SystemExit(3)
        return torch.stack(sources).mean(0)


class Processes(Executor):
    """Every case in another process, as a cluster would do it."""

    def run(self, work: Work, report: Report) -> list[Outcome]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            outcomes = list(pool.map(work.fuse_case, work.cases))
        for case, outcome in zip(work.cases, outcomes, strict=True):
            report(case, outcome)
        return outcomes


class Odd(Executor):
    """Says what the test wants it to say."""

    says: Any = ()
    tells: Any = ()

    def run(self, work: Work, report: Report) -> Any:
        for case, outcome in self.tells:
            report(case, outcome)
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    OUT.mkdir()


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type], None]]:
    """Register a class as the executor ``odd`` of the distribution ``strange`` for the time of a test."""
    registry = registries().executors
    before = registry.snapshot()

    def add(executor: type) -> None:
        registry.registrar("strange")("odd", f"{executor.__module__}:{executor.__name__}")
        monkeypatch.setattr(registry, "load", {"odd": executor}.__getitem__)

    yield add
    registry.restore(before)


def make_cases(count: int) -> list[Case]:
    for number in range(count):
        write_texture(CT / f"{number}.png", number, 16, 16)
        write_texture(MRI / f"{number}.png", 50 + number, 16, 16)
    return find_cases([CT, MRI], OUT)


def fuse(cases: Sequence[Case], model: FusionModel | None = None, **choices: Any) -> Summary:
    return fuse_cases(cases, model or Mean(), run=RunOptions(**choices))


# --- built in ----------------------------------------------------------------------------------------------------


def test_both_are_listed() -> None:
    assert [row["name"] for row in list_executors()] == ["serial", "threads"]
    assert "serial" in run_cli(["list", "executors"]).out


def test_the_serial_one_makes_the_same_files_in_the_thread_that_asks() -> None:
    cases = make_cases(5)
    write_texture(MRI / "5.png", 1, 16, 16)
    truncate(MRI / "3.png")
    cases = find_cases([CT, MRI], OUT)
    seen: list[tuple[str, str]] = []

    def report(case: Case) -> None:
        seen.append((case.name, threading.current_thread().name))

    first = fuse(cases, executor="threads")
    images = {name: read_image(OUT / f"{name}.png").pixels for name in first.done}
    again = fuse(cases, executor="serial", overwrite=True, report=report)
    assert (again.done, again.failed) == (first.done, first.failed)
    assert again.failed["5"] == "missing from folder 1 of 2"
    assert seen == [(case.name, threading.main_thread().name) for case in cases]
    for name, pixels in images.items():
        np.testing.assert_array_equal(read_image(OUT / f"{name}.png").pixels, pixels)
    assert fuse(cases, executor="serial").skipped == first.done


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_a_model_that_ends_the_process_ends_its_case(executor: str) -> None:
    cases = make_cases(3)
    write_image(CT / "1.png", from_pixels(np.full((16, 16), 255, np.uint8)))
    summary = fuse(cases, executor=executor)
    assert summary.done == ["0", "2"]
    assert summary.failed.keys() == {"1"}


def test_an_interruption_leaves_a_true_summary() -> None:
    cases = make_cases(4)

    def report(case: Case) -> None:
        if case.name == "1":
            raise KeyboardInterrupt

    summary = fuse(cases, executor="serial", report=report)
    assert (summary.interrupted, summary.done) == (True, ["0", "1"])
    assert {path.stem for path in OUT.glob("*.png")} == {"0", "1"}


# --- other processes ---------------------------------------------------------------------------------------------


def test_a_loaded_model_is_loaded_again_once() -> None:
    model = fusekit.load("ehdran", device="cpu", form="plain")
    fuser = CaseFuser(model, model.choose_rule("sfnn-local"), FuseOptions(bit_depth="16"), record=False)
    sent = pickle.dumps(fuser)
    assert len(sent) < 10_000
    one, other = pickle.loads(sent), pickle.loads(sent)
    assert one.model is other.model is not model
    assert one.model.form == "plain"
    (case,) = make_cases(1)
    assert one(case) == Outcome("done")
    assert read_image(case.target).depth == "uint16"
    assert not Path(f"{case.target}.json").exists()
    assert fuser(case) == Outcome("skipped")


def test_a_model_made_by_hand_goes_along() -> None:
    sent = pickle.loads(pickle.dumps(CaseFuser(Mean(), None, FuseOptions())))
    (case,) = make_cases(1)
    assert sent(case) == Outcome("done")
    assert replace(sent, options=FuseOptions(color="gray"))(case) == Outcome("skipped", other_settings=True)


@pytest.mark.process
def test_an_executor_of_processes(register: Callable[[type], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fork_what_is_spawned(monkeypatch)
    register(Processes)
    cases = [
        replace(case, sources=tuple(path.resolve() for path in case.files), output=case.target.resolve())
        for case in make_cases(3)
    ]
    told: list[str] = []
    summary = fuse_cases(
        cases,
        fusekit.load("ehdran", device="cpu", form="plain"),
        FuseOptions(rule="mean"),
        RunOptions(executor="odd", report=lambda case: told.append(case.name)),
    )
    assert (summary.done, told) == (["0", "1", "2"], ["0", "1", "2"])


# --- what is checked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (None, "returns NoneType for 2 cases; return a list with an outcome for each"),
        ([Outcome("skipped")], "returns 1 outcomes for 2 cases"),
        ("ab", "returns 2 outcomes for 2 cases"),
        ([Outcome("skipped"), None], "says None of '1'; say a fusekit.extend.Outcome whose kind is done, skipped or"),
        ([Outcome("skipped"), Outcome("lost")], "says Outcome(kind='lost'"),
        ([Outcome("skipped"), Outcome("done")], "says that '1' is done, and there is no out/1.png; write it first"),
        (ZeroDivisionError("oh"), "failed: ZeroDivisionError: oh"),
        (SystemExit(0), "failed: SystemExit: 0"),
    ],
)
def test_what_an_executor_says_is_checked(
    register: Callable[[type], None], monkeypatch: pytest.MonkeyPatch, says: Any, message: str
) -> None:
    register(Odd)
    monkeypatch.setattr(Odd, "says", says)
    with pytest.raises(PluginError) as caught:
        fuse(make_cases(2), executor="odd")
    assert str(caught.value).startswith(f"the executor 'odd' of strange {message}")


def test_what_an_executor_reports_is_checked(register: Callable[[type], None], monkeypatch: pytest.MonkeyPatch) -> None:
    register(Odd)
    cases = make_cases(2)
    monkeypatch.setattr(Odd, "tells", [(replace(cases[0], name="x"), Outcome("failed"))])
    with pytest.raises(PluginError, match=r"reports Case.*, which is none of its cases"):
        fuse(cases, executor="odd")
    monkeypatch.setattr(Odd, "tells", [(cases[0], "failed")])
    with pytest.raises(PluginError, match="says 'failed' of '0'"):
        fuse(cases, executor="odd")


def test_what_is_no_executor_is_refused(register: Callable[[type], None]) -> None:
    register(dict)
    with pytest.raises(PluginError, match=r"the executor 'odd' of strange is not a fusekit.extend.Executor"):
        fuse(make_cases(1), executor="odd")
    with pytest.raises(UnknownNameError, match="unknown executor 'thread'; did you mean 'threads'"):
        fuse(make_cases(1), executor="thread")


def test_cases_are_written_to_files_of_their_own() -> None:
    (case,) = make_cases(1)
    with pytest.raises(InputError, match=r"the cases '0' and 'twin' are both to be written to out/0\.png"):
        fuse([case, replace(case, name="twin")])
    with pytest.raises(InputError, match="the case '0' states no output"):
        fuse([replace(case, output=None)])


def test_names_that_differ_in_capitals_alone_need_a_folder_that_tells_them_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (case,) = make_cases(1)
    capital = replace(case, name="CT", output=OUT / "CT.png")
    small = replace(case, name="ct", output=OUT / "ct.png")
    assert fuse([capital, small]).done == ["CT", "ct"]
    monkeypatch.setattr(executors, "ignores_case", lambda folder: True)
    with pytest.raises(InputError, match="the cases 'CT' and 'ct' differ in capitals alone, and out does not tell"):
        fuse([capital, small], overwrite=True)
