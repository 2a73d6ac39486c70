"""Races: contestants go round by round, so that what else the machine does falls on all of them alike.

Stages are what fusekit labels for any profiler, by ``torch.profiler.record_function("fusekit.encode")`` and the like.
A profiler that records every operation would slow down what it measures; a `Stopwatch` looks at these labels alone.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch.profiler import record_function

_Timed = TypeVar("_Timed", covariant=True)
#: Of the labels that are stages.
_PREFIX = "fusekit."
# A round repeats what takes less than this many seconds, which clocks and the system's interruptions blur.
_LEAST = 0.05

CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


class Timing(NamedTuple):
    """What one call took, in seconds, and of that each stage."""

    seconds: float
    stages: Mapping[str, float]


@contextlib.contextmanager
def watched_labels(mark: Callable[[], Any]) -> Iterator[list[tuple[str, Any, Any]]]:
    """Give a list that gets name, begin and end by ``mark`` of each label of fusekit's, as it ends.

    Labels within another one are part of that.
    """
    spans: list[tuple[str, Any, Any]] = []
    begins: list[Any] = []
    labels: Any = record_function
    enter, leave = labels.__enter__, labels.__exit__

    def entered(label: Any) -> Any:
        if label.name.startswith(_PREFIX):
            begins.append(None if begins else mark())
        return enter(label)

    def left(label: Any, *error: Any) -> None:
        leave(label, *error)
        if label.name.startswith(_PREFIX):
            begin = begins.pop()
            if not begins:
                spans.append((label.name.removeprefix(_PREFIX), begin, mark()))

    labels.__enter__, labels.__exit__ = entered, left
    try:
        yield spans
    finally:
        labels.__enter__, labels.__exit__ = enter, leave


class Stopwatch:
    """Times calls and the stages within them: by the clock on a CPU, by events of its stream on a CUDA device.

    Args:
        device: where the work is done.
        clock: of the CPU, in seconds.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.device, self._clock = device, clock

    def time(self, work: Callable[[], Any], repeats: int = 1) -> Timing:
        """Return the mean seconds of some calls in a row, and of their stages."""
        if self.device.type != "cuda":
            return self._run(work, repeats, watching=True)
        # Events between the stages would hold up a device that is fed in advance.
        whole = self._run(work, repeats, watching=False)
        return whole._replace(stages=self._run(work, repeats, watching=True).stages)

    def _run(self, work: Callable[[], Any], repeats: int, *, watching: bool) -> Timing:
        labels: contextlib.AbstractContextManager[list[tuple[str, Any, Any]]] = contextlib.nullcontext([])
        if watching:
            labels = watched_labels(self._mark)
        with labels as spans:
            self._wait()
            begin = self._mark()
            for _ in range(repeats):
                work()
            end = self._mark()
            self._wait()
        stages: dict[str, float] = {}
        for name, first, last in spans:
            stages[name] = stages.get(name, 0.0) + _between(first, last) / repeats
        return Timing(_between(begin, end) / repeats, stages)

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return self._clock()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _between(begin: Any, end: Any) -> float:
    """Return the seconds between two marks."""
    return float(end - begin) if isinstance(begin, float) else float(begin.elapsed_time(end)) / 1000


class Racer(Protocol[_Timed]):
    """Someone who runs in every round, here or in another process.

    Attributes:
        name: unlike the others'.
    """

    name: str

    def warm_up(self, times: int) -> None:
        """Run some times untimed."""

    def run(self) -> _Timed:
        """Run and time one round."""


class Contestant:
    """Something to be timed over and over: a `Racer` in this process.

    Args:
        name: unlike the others'.
        work: what is timed.
        stopwatch: of the device that it runs on.

    Attributes:
        repeats: calls a round.
    """

    def __init__(self, name: str, work: Callable[[], Any], stopwatch: Stopwatch) -> None:
        self.name, self.work, self.stopwatch = name, work, stopwatch
        self.repeats = 1

    def warm_up(self, times: int) -> None:
        """Run some times untimed, and choose `repeats` by the last one."""
        seconds = min(self.stopwatch.time(self.work).seconds for _ in range(max(times, 1)))
        self.repeats = max(1, min(100, math.ceil(_LEAST / max(seconds, 1e-9))))

    def run(self) -> Timing:
        """Run and time one round."""
        return self.stopwatch.time(self.work, self.repeats)


def race(
    racers: Sequence[Racer[_Timed]], rounds: int, progress: Callable[[], None] = lambda: None
) -> dict[str, list[_Timed]]:
    """Return each racer's timings, one a round; each round begins with the next racer."""
    timings: dict[str, list[_Timed]] = {each.name: [] for each in racers}
    for number in range(rounds):
        first = number % len(racers)
        for racer in (*racers[first:], *racers[:first]):
            timings[racer.name].append(racer.run())
        progress()
    return timings


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the ``median`` of some values and their quartiles ``low`` and ``high``."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": median, "low": low, "high": high}


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]
