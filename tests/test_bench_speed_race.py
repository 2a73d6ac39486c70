"""Races of ``fusekit bench speed`` on a clock of their own: stages, rounds, ratios."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from speed_helper import Clock

import fusekit
from fusekit.errors import InputError
from fusekit.models.parts import build_rule
from fusekit_bench.speed_entrants import Entrant, Ready, watch
from fusekit_bench.speed_race import Contestant, Stopwatch, race, ratios, spread
from fusekit_bench.speed_rows import Entry, row
from fusekit_bench.speed_worker import Introduction

CPU = torch.device("cpu")


def test_stages_on_a_clock() -> None:
    clock = Clock()
    stopwatch = Stopwatch(CPU, clock)
    inside = stopwatch.stage("decode", clock.takes(4.0))
    encode = stopwatch.stage("encode", clock.takes(1.0, 3.0))

    def outside() -> None:
        clock.now += 1.0
        inside()

    rule, rest = stopwatch.stage("rule", outside), clock.takes(0.5)

    def work() -> None:
        encode()
        rule()
        rest()

    turn = stopwatch.time(work, repeats=2)
    # What a stage calls is part of it, and not a stage of its own.
    assert turn.stages == {"encode": 2.0, "rule": 5.0}
    assert turn.seconds == 7.5
    inside()
    assert stopwatch.time(rest).stages == {}


def test_a_stage_that_fails_stops_nothing() -> None:
    stopwatch = Stopwatch(CPU, Clock())

    def fail() -> None:
        raise InputError("no")

    failing = stopwatch.stage("rule", fail)
    with pytest.raises(InputError):
        stopwatch.time(failing)
    assert stopwatch.time(stopwatch.stage("encode", lambda: None)).stages == {"encode": 0.0}


def test_cuda_is_timed_by_events_and_its_stages_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(), []

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
    turn = stopwatch.time(stopwatch.stage("encode", clock.takes(1.0, 2.0, 5.0, 7.0)), repeats=2)
    # The whole is that of the first two calls, the stages those of the other two.
    assert turn.seconds == pytest.approx(1.5)
    assert turn.stages == {"encode": pytest.approx(6.0)}
    assert len(waits) == 4


def test_races_interleave_and_rounds_begin_with_another() -> None:
    order: list[str] = []
    clock, rounds = Clock(), []
    contestants = [Contestant(name, lambda name=name: order.append(name), Stopwatch(CPU, clock)) for name in "abc"]
    turns = race(contestants, 4, lambda: rounds.append(len(order)))
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert rounds == [3, 6, 9, 12]
    assert {name: len(each) for name, each in turns.items()} == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize(("seconds", "repeats"), [(2.0, 1), (0.05, 1), (0.02, 3), (0.0, 100)])
def test_short_work_is_repeated_in_a_turn(seconds: float, repeats: int) -> None:
    clock = Clock()
    contestant = Contestant("it", clock.takes(9.0, seconds), Stopwatch(CPU, clock))
    contestant.warm_up(2)
    assert contestant.repeats == repeats
    assert contestant.turn().seconds == pytest.approx(seconds)


def test_spreads_and_ratios() -> None:
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0}
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_ratios_are_of_the_rounds() -> None:
    """A machine that halves its speed for a round changes the times and leaves the ratios."""
    clock = Clock()
    facts = {"form": "composed", "dtype": "float32", "backend": "torch", "device": "cpu"}
    seconds = {"oracle": (4.0, 8.0, 5.0), "tuned": (3.0, 6.0, 3.0), "ours": (1.0, 2.0, 1.0), "against": (2.0, 4.0, 3.0)}
    work = {kind: clock.takes(*each) for kind, each in seconds.items()}
    turns = race([Contestant(kind, each, Stopwatch(CPU, clock)) for kind, each in work.items()], 3)
    images = np.array([[[[0.0, 1.0], [0.5, 1.5]]]], np.float32)
    entries = [
        Entry(
            Introduction(Entrant(kind, target="theirs"), facts, "clamp", images + (0.1 if kind == "ours" else 0.0)),
            turns[kind],
            {},
            {"plain": 8 * 10**9, "executed": 2 * 10**9},
            None,
        )
        for kind in work
    ]
    oracle, tuned, ours, theirs = (row(each, entries, [], turns, batch=6) for each in entries)
    assert ours["ratio"] == {"median": 4.0, "low": 4.0, "high": 4.5}
    assert ours["ratio_tuned"] == {"median": 3.0, "low": 3.0, "high": 3.0}
    assert (tuned["who"], tuned["form"]) == ("oracle, tuned", "oracle")
    assert ours["ratio_against"] == {"median": 2.0, "low": 2.0, "high": 2.5}
    assert theirs["ratio"] == {"median": 2.0, "low": pytest.approx((5 / 3 + 2) / 2), "high": 2.0}
    assert (oracle["ratio"]["median"], oracle["deviation"], oracle["psnr"]) == (1.0, 0.0, None)
    assert (ours["seconds"]["median"], ours["pairs_per_second"], ours["rounds"]) == (1.0, 6.0, [1.0, 2.0, 1.0])
    assert ours["gflops"] == {"plain": spread([8.0, 4.0, 8.0]), "executed": spread([2.0, 1.0, 2.0])}
    assert ours["deviation"] == pytest.approx(0.1)
    # Of the image as it is written, cut to [0, 1]: two of its four values differ.
    assert ours["psnr"] == pytest.approx(20 + 10 * np.log10(2), abs=1e-5)


def test_what_a_rule_gathers_from_tiles_is_its_stage() -> None:
    clock, rule = Clock(), build_rule("max")
    found_rule = SimpleNamespace(fuse=clock.takes(6.0))
    survey = SimpleNamespace(add=clock.takes(3.0), finish_pass=clock.takes(2.0), rule=lambda: found_rule)
    rule.survey = lambda count: survey if count else None  # type: ignore[attr-defined]
    ready = Ready(lambda: torch.zeros(1), fusekit.load("ehdran"), rule, [], {})
    stopwatch = Stopwatch(CPU, clock)
    watch(ready, stopwatch)

    def work() -> None:
        found = rule.survey(2)  # type: ignore[attr-defined]
        found.add()
        found.add()
        found.finish_pass()
        found.rule().fuse()
        clock.now += 1.0

    assert stopwatch.time(work) == (15.0, {"rule": 14.0})
    assert rule.survey(0) is None  # type: ignore[attr-defined]
