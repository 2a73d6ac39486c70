"""Races of ``fusekit bench speed`` on a clock of their own: stages, rounds, ratios."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers.speed import Clock
from torch.profiler import record_function

import fusekit
from fusekit.errors import InputError
from fusekit.fusing.run import run
from fusekit.models.parts import build_rule
from fusekit.options import FuseOptions
from fusekit_bench.speed.cases import Entrant
from fusekit_bench.speed.race import Contestant, Stopwatch, race, ratios, spread
from fusekit_bench.speed.rows import Entry, row
from fusekit_bench.speed.workers import Introduction

CPU = torch.device("cpu")


def stage(name: str, work: Callable[[], None]) -> Callable[[], None]:
    """Return work that is labelled as a stage."""

    def labelled() -> None:
        with record_function(f"fusekit.{name}"):
            work()

    return labelled


def test_stages_on_a_clock() -> None:
    clock = Clock()
    inside, encode = stage("decode", clock.takes(4.0)), stage("encode", clock.takes(1.0, 3.0))

    def outside() -> None:
        clock.now += 1.0
        inside()

    rule, rest = stage("rule", outside), clock.takes(0.5)

    def work() -> None:
        encode()
        rule()
        with record_function("someone's own label"):
            rest()

    stopwatch = Stopwatch(CPU, clock)
    timing = stopwatch.time(work, repeats=2)
    # What is labelled within a stage is part of it, and not a stage of its own.
    assert timing.stages == {"encode": 2.0, "rule": 5.0}
    assert timing.seconds == 7.5
    inside()
    assert stopwatch.time(rest).stages == {}


def test_a_stage_that_fails_stops_nothing() -> None:
    stopwatch, kept = Stopwatch(CPU, Clock()), record_function.__enter__

    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError):
        stopwatch.time(stage("rule", fail))
    assert record_function.__enter__ is kept
    assert stopwatch.time(stage("encode", lambda: None)).stages == {"encode": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ehdran", "pixel"])
def test_the_stages_are_the_labels_that_a_profiler_sees(model: str) -> None:
    network, sources = fusekit.load(model, device="cpu"), [torch.rand(1, 1, 24, 20)] * 2
    with torch.inference_mode():
        timing = Stopwatch(CPU).time(lambda: network.fuse(sources))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            network.fuse(sources)
    assert set(timing.stages) == {"encode", "rule", "decode"}
    assert 0 < sum(timing.stages.values()) <= timing.seconds
    labels = {each.key for each in profile.key_averages() if each.key.startswith("fusekit.")}
    assert labels == {f"fusekit.{name}" for name in timing.stages}


def test_cuda_is_timed_by_events_and_its_stages_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    waits: list[Any] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            assert stream == "the stream"
            self.at = clock.now

        def elapsed_time(self, other: Event) -> float:
            return 1000 * (other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the stream")
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    stopwatch = Stopwatch(torch.device("cuda"), lambda: pytest.fail("the clock of the CPU"))
    timing = stopwatch.time(stage("encode", clock.takes(1.0, 2.0, 5.0, 7.0)), repeats=2)
    # The whole is that of the first two calls, the stages those of the other two.
    assert timing.seconds == pytest.approx(1.5)
    assert timing.stages == {"encode": pytest.approx(6.0)}
    assert len(waits) == 4


def test_races_interleave_and_rounds_begin_with_another() -> None:
    order: list[str] = []
    clock, rounds = Clock(), []
    contestants = [Contestant(name, partial(order.append, name), Stopwatch(CPU, clock)) for name in "abc"]
    timings = race(contestants, 4, lambda: rounds.append(len(order)))
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert rounds == [3, 6, 9, 12]
    assert {name: len(each) for name, each in timings.items()} == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize(("seconds", "repeats"), [(2.0, 1), (0.05, 1), (0.02, 3), (0.0, 100)])
def test_short_work_is_repeated_in_a_round(seconds: float, repeats: int) -> None:
    clock = Clock()
    contestant = Contestant("it", clock.takes(9.0, seconds), Stopwatch(CPU, clock))
    contestant.warm_up(2)
    assert contestant.repeats == repeats
    assert contestant.run().seconds == pytest.approx(seconds)


def test_spreads_and_ratios() -> None:
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0}
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_ratios_are_of_the_rounds() -> None:
    """A machine that halves its speed for a round changes the times and leaves the ratios."""
    clock = Clock()
    facts = {"form": "composed", "dtype": "float32", "backend": "torch", "device": "cpu"}
    seconds = {
        "reference": (4.0, 8.0, 5.0),
        "tuned": (3.0, 6.0, 3.0),
        "ours": (1.0, 2.0, 1.0),
        "against": (2.0, 4.0, 3.0),
    }
    work = {kind: clock.takes(*each) for kind, each in seconds.items()}
    timings = race([Contestant(kind, each, Stopwatch(CPU, clock)) for kind, each in work.items()], 3)
    images = np.array([[[[0.0, 1.0], [0.5, 1.5]]]], np.float32)
    entries = [
        Entry(
            Introduction(Entrant(kind, target="theirs"), facts, "clamp", images + (0.1 if kind == "ours" else 0.0)),
            timings[kind],
            {},
            {"plain": 8 * 10**9, "executed": 2 * 10**9},
            None,
        )
        for kind in work
    ]
    reference, tuned, ours, theirs = (row(each, entries, [], timings, batch=6) for each in entries)
    assert ours["ratio"] == {"median": 4.0, "low": 4.0, "high": 4.5}
    assert ours["ratio_tuned"] == {"median": 3.0, "low": 3.0, "high": 3.0}
    assert (tuned["who"], tuned["form"]) == ("reference, tuned", "reference")
    assert ours["ratio_against"] == {"median": 2.0, "low": 2.0, "high": 2.5}
    assert theirs["ratio"] == {"median": 2.0, "low": pytest.approx((5 / 3 + 2) / 2), "high": 2.0}
    assert (reference["ratio"]["median"], reference["deviation"], reference["psnr"]) == (1.0, 0.0, None)
    assert (ours["seconds"]["median"], ours["pairs_per_second"], ours["rounds"]) == (1.0, 6.0, [1.0, 2.0, 1.0])
    assert ours["gflops"] == {"plain": spread([8.0, 4.0, 8.0]), "executed": spread([2.0, 1.0, 2.0])}
    assert ours["deviation"] == pytest.approx(0.1)
    # Of the image as it is written, cut to [0, 1]: two of its four values differ.
    assert ours["psnr"] == pytest.approx(20 + 10 * np.log10(2), abs=1e-5)


def test_what_a_rule_gathers_from_tiles_is_its_stage() -> None:
    """Each tile is encoded and its statistics gathered before it is fused, and nothing of that is left unlabelled."""
    clock, network = Clock(), fusekit.load("pixel", device="cpu")
    rule: Any = build_rule("l1")
    survey_of, seen = type(rule).survey, []

    def survey(*arguments: Any) -> Any:
        found: Any = survey_of(rule, *arguments)
        add = found.add

        def added(*of_tile: Any) -> None:
            seen.append(of_tile)
            clock.now += 3.0
            add(*of_tile)

        found.add = added
        return found

    rule.survey = survey
    images = [np.random.default_rng(seed).random((40, 48), np.float32) for seed in (1, 2)]
    timing = Stopwatch(CPU, clock).time(lambda: run(network, [images], rule, FuseOptions(tile=16)))
    assert len(seen) == 9
    assert timing == (27.0, {"encode": 0.0, "rule": 27.0, "decode": 0.0})
