"""Races: contestants take turns round by round, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

# A turn repeats what takes less than this many seconds, which clocks and the system's interruptions blur.
_LEAST = 0.05


class Turn(NamedTuple):
    """What one call took, in seconds, and of that each stage."""

    seconds: float
    stages: Mapping[str, float]


class Stopwatch:
    """Times calls and the stages within them: by the clock on a CPU, by events of its stream on a CUDA device.

    Args:
        device: where the work is done.
        clock: of the CPU, in seconds.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.device, self._clock = device, clock
        self._watching = False
        self._spans: list[tuple[str, Any, Any]] = []

    def stage(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` so that `time` sees it as a stage; stages that it calls itself are part of it."""

        @functools.wraps(function)
        def watched(*arguments: Any, **options: Any) -> Any:
            if not self._watching:
                return function(*arguments, **options)
            self._watching = False
            begin = self._mark()
            try:
                return function(*arguments, **options)
            finally:
                self._spans.append((name, begin, self._mark()))
                self._watching = True

        return watched

    def time(self, work: Callable[[], Any], repeats: int = 1) -> Turn:
        """Return the mean seconds of some calls in a row, and of their stages."""
        if self.device.type != "cuda":
            return self._run(work, repeats, watching=True)
        # Events between the stages would hold up a device that is fed in advance.
        whole = self._run(work, repeats, watching=False)
        return whole._replace(stages=self._run(work, repeats, watching=True).stages)

    def _run(self, work: Callable[[], Any], repeats: int, *, watching: bool) -> Turn:
        self._spans, self._watching = [], watching
        self._wait()
        begin = self._mark()
        for _ in range(repeats):
            work()
        end = self._mark()
        self._wait()
        self._watching = False
        stages: dict[str, float] = {}
        for name, first, last in self._spans:
            stages[name] = stages.get(name, 0.0) + _between(first, last) / repeats
        return Turn(_between(begin, end) / repeats, stages)

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


class Racer(Protocol):
    """Someone who takes turns, here or in another process.

    Attributes:
        name: unlike the others'.
    """

    name: str

    def warm_up(self, times: int) -> None:
        """Run some times untimed."""

    def turn(self) -> Turn:
        """Run and time one turn."""


class Contestant:
    """Something to be timed over and over: a `Racer` in this process.

    Args:
        name: unlike the others'.
        work: what is timed.
        stopwatch: of the device that it runs on, which knows its stages.

    Attributes:
        repeats: calls a turn.
    """

    def __init__(self, name: str, work: Callable[[], Any], stopwatch: Stopwatch) -> None:
        self.name, self.work, self.stopwatch = name, work, stopwatch
        self.repeats = 1

    def warm_up(self, times: int) -> None:
        """Run some times untimed, and choose `repeats` by the last one."""
        seconds = min(self.stopwatch.time(self.work).seconds for _ in range(max(times, 1)))
        self.repeats = max(1, min(100, math.ceil(_LEAST / max(seconds, 1e-9))))

    def turn(self) -> Turn:
        """Run and time one turn."""
        return self.stopwatch.time(self.work, self.repeats)


def race(
    contestants: Sequence[Racer], rounds: int, progress: Callable[[], None] = lambda: None
) -> dict[str, list[Turn]]:
    """Return each contestant's turns, one a round; each round begins with the next contestant."""
    turns: dict[str, list[Turn]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            turns[contestant.name].append(contestant.turn())
        progress()
    return turns


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the ``median`` of some values and their quartiles ``low`` and ``high``."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": median, "low": low, "high": high}


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]
