"""The executor of threads: they read the next cases, fuse, and write the last ones, all at the same time.

    cases → read ahead → sets of one size together → fuse, several at a time → write → outcomes

Every queue between them is bounded, so memory depends on the size of the sets and not on how many there are. The main
thread deals out the work and reports; outcomes are kept by a case's place in the list, so a summary does not depend on
who was quicker. Which sets share one call of the network depends on their order and sizes alone, never on time.

On a CPU each call of the network has few threads and several calls run at once: a small image does not keep many
threads busy, and two images on two threads do not wait for each other. On a GPU one thread feeds the device.
"""

from __future__ import annotations

import contextlib
import queue
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from fusekit.batch.capacity import Shares
from fusekit.batch.executor import Executor, Outcome, SerialExecutor, Work, failed
from fusekit.cases.case import Case
from fusekit.errors import FusekitWarning
from fusekit.fusing.run import Run, run
from fusekit.images.image import Array
from fusekit.machine.allocator import release_freed_memory
from fusekit.machine.threads import fit_torch_threads, start_all, startable
from fusekit.pipeline import Fused, Prepared, finish, prepare

_MOST_TOGETHER = 32
_WAITING_PIXELS = 1 << 22
_SECONDS_BETWEEN_RELEASES = 5.0
#: Threads that are started on trial, to see whether the system allows those that torch may want.
_MOST_TRIED = 64
#: What is the failure of a case: a model of a plugin may raise anything.
_FAILURES = (Exception, SystemExit, GeneratorExit)


class _Set(NamedTuple):
    """A case whose sources are read, with the seconds that took."""

    place: int
    prepared: Prepared
    read: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Number, height and width of the sources."""
        return len(self.prepared.units), *self.prepared.units[0].shape

    @property
    def pixels(self) -> int:
        return sum(unit.size for unit in self.prepared.units)


class ThreadsExecutor(Executor):
    """Fuses cases with several threads, and several cases of one size in one call of the network.

    Where the system allows no more threads, as under ``ulimit -u`` or ``-v``, it makes do with fewer, or with none.
    """

    def run(self, work: Work, report: Callable[[Case, Outcome], None]) -> list[Outcome]:
        shares = Shares.of(work.fuse_case.model.device, work.workers)
        for fewer in (shares, replace(shares, at_once=1, movers=1)):
            with contextlib.suppress(_NoMoreThreadsError):
                return _Scheduler(work, fewer, report).run()
        warnings.warn("the system allows no more threads, so sets are fused one by one", FusekitWarning, stacklevel=2)
        fit_torch_threads()
        return SerialExecutor().run(work, report)


class _NoMoreThreadsError(Exception):
    """The system allows no more threads; nothing has begun."""


class _Scheduler:
    """Deals out the cases of one run to threads.

    Args:
        work: the cases, and what fuses them.
        shares: of the machine.
        report: called in the main thread after each case.
    """

    def __init__(self, work: Work, shares: Shares, report: Callable[[Case, Outcome], None]) -> None:
        self._cases, self._shares, self._report = work.cases, shares, report
        self._fuser = work.fuse_case
        self._model, self._rule, self._options = self._fuser.model, self._fuser.rule, self._fuser.options
        # By a case's place in the list; true of the files that are there at any time.
        self._outcomes: dict[int, Outcome] = {}
        # Threads say here what the main thread is to do next.
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._reported: set[int] = set()
        self._started = self._reading = self._calls_begun = 0
        self._arrived: dict[int, _Set | None] = {}
        self._next_in_order = 0
        self._ready: deque[_Set] = deque()
        # Of the set that was read last; until there is one, no more are read than there are threads to read.
        self._typical_pixels = self._waiting_pixels
        self._calls: list[int] = []
        self._released = time.monotonic()
        self._unwritten: dict[int, int] = {}

    def run(self) -> list[Outcome]:
        """Work off all cases and return their outcomes.

        Raises:
            KeyboardInterrupt: the user stopped it; what was being fused is finished, written and reported first.
        """
        threads = torch.get_num_threads()
        try:
            with self._threads():
                while len(self._reported) < len(self._cases):
                    self._read_ahead()
                    self._fuse_ready()
                    self._events.get()()
        except KeyboardInterrupt:
            for place in sorted(self._outcomes.keys() - self._reported):
                self._tell(place)
            raise
        finally:
            # Threads that begin later take the number that was set last, whoever set it.
            torch.set_num_threads(threads)
        return [self._outcomes[place] for place in range(len(self._cases))]

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Hold the threads; at the end those that have begun finish, readers first, and no others begin.

        Raises:
            _NoMoreThreadsError: they are too many for the system.
        """
        movers = self._shares.movers
        with (
            ThreadPoolExecutor(movers, "write") as self._writers,
            ThreadPoolExecutor(self._shares.at_once, "fuse") as self._fusers,
            ThreadPoolExecutor(movers, "read") as self._readers,
        ):
            wanted = {self._readers: movers, self._fusers: self._shares.at_once, self._writers: movers}
            # Each of them may have torch start threads of its own.
            more = min(sum(wanted.values()) * (self._shares.cores - 1), _MOST_TRIED)
            if not all(start_all(pool, count) for pool, count in wanted.items()) or startable(more) < more:
                raise _NoMoreThreadsError
            try:
                yield
            finally:
                self._readers.shutdown(cancel_futures=True)
                self._fusers.shutdown(cancel_futures=True)

    @property
    def _waiting_pixels(self) -> int:
        """Pixels of the sets that may wait between reading and fusing, and as many between fusing and writing."""
        return _WAITING_PIXELS + 2 * self._shares.at_once * self._shares.together

    def _read_ahead(self) -> None:
        """Start to read more, unless enough is read that waits for being fused."""
        most = 2 * (self._shares.at_once + _MOST_TOGETHER)
        pixels = self._waiting_pixels
        while self._started < len(self._cases):
            waiting = self._reading + len(self._arrived) + len(self._ready)
            if waiting >= most or (waiting >= self._shares.movers and waiting * self._typical_pixels >= pixels):
                return
            self._readers.submit(self._guarded, self._read, self._started)
            self._started += 1
            self._reading += 1

    def _fuse_ready(self) -> None:
        """Start the calls of the network for which sets are ready and room is left."""
        while len(self._calls) < self._shares.at_once:
            if len(self._unwritten) > 1 and sum(self._unwritten.values()) > self._waiting_pixels:
                return
            sets = self._next_call()
            if not sets:
                return
            pixels = sum(each.pixels for each in sets)
            if self._calls and sum(self._calls) + pixels > self._shares.budget:
                return
            threads = self._shares.threads(pixels, self._of_this_round(len(sets)))
            for _ in sets:
                self._ready.popleft()
            self._calls.append(pixels)
            self._calls_begun += 1
            self._fusers.submit(self._guarded, self._fuse, sets, pixels, threads)

    def _of_this_round(self, together: int) -> int:
        """Return how many calls run at once with the one that begins: in the last round fewer, with more threads."""
        unread = len(self._cases) - self._started + self._reading
        left = unread + sum(each is not None for each in self._arrived.values()) + len(self._ready)
        before = self._calls_begun % self._shares.at_once
        return min(self._shares.at_once, before + -(-left // together))

    def _next_call(self) -> list[_Set]:
        """Return the sets of the next call, the next ones of one shape; none where more may yet come to join them."""
        sets: list[_Set] = []
        for each in self._ready:
            together = (len(sets) + 1) * each.pixels <= self._shares.together and len(sets) < _MOST_TOGETHER
            if sets and (each.shape != sets[0].shape or not together):
                return sets
            sets.append(each)
        full = bool(sets) and (len(sets) + 1) * sets[0].pixels > self._shares.together
        more = self._next_in_order < len(self._cases)
        return sets if full or len(sets) == _MOST_TOGETHER or not more else []

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        """Work in a thread; what no case is to blame for is raised in the main thread."""
        try:
            work(*arguments)
        except BaseException as error:
            self._events.put(partial(_raise, error))

    def _read(self, index: int) -> None:
        case, found = self._cases[index], None
        started = time.perf_counter()
        try:
            outcome = self._fuser.skipped(case)
            if outcome is None:
                self._model.check_count(len(case.sources))
                prepared = prepare(case.files, self._model, self._options)
                found = _Set(index, prepared, time.perf_counter() - started)
        except _FAILURES as error:
            outcome = failed(error)
        if outcome is not None:
            self._finished(index, outcome)
        self._events.put(partial(self._has_read, index, found))

    def _has_read(self, index: int, found: _Set | None) -> None:
        """Put what was read in order."""
        self._reading -= 1
        self._arrived[index] = found
        while self._next_in_order in self._arrived:
            each = self._arrived.pop(self._next_in_order)
            self._next_in_order += 1
            if each is not None:
                self._typical_pixels = each.pixels
                self._ready.append(each)

    def _fuse(self, sets: list[_Set], pixels: int, threads: int) -> None:
        torch.set_num_threads(threads)
        started = time.perf_counter()
        units = [each.prepared.units for each in sets]
        try:
            found: list[Run | BaseException] = [*run(self._model, units, self._rule, self._options)]
        except _FAILURES as error:
            found = [error] if len(sets) == 1 else [self._fuse_alone(each) for each in units]
        seconds = (time.perf_counter() - started) / len(sets)
        # A rule tells the thread that fused what it did, so the record is made here.
        fused = [self._finish(each, result, seconds) for each, result in zip(sets, found, strict=True)]
        self._events.put(partial(self._has_fused, sets, pixels))
        for each, outcome in zip(sets, fused, strict=True):
            self._writers.submit(self._guarded, self._write, each.place, outcome)

    def _fuse_alone(self, units: Sequence[Array]) -> Run | BaseException:
        """Fuse one set of several that could not be fused together."""
        try:
            return run(self._model, [units], self._rule, self._options)[0]
        except _FAILURES as error:
            return error

    def _finish(self, each: _Set, result: Run | BaseException, seconds: float) -> Fused | BaseException:
        if isinstance(result, BaseException):
            return result
        try:
            took = {"read": each.read, "fuse": seconds}
            return finish(each.prepared, self._model, self._rule, self._options, result, took)
        except _FAILURES as error:
            return error

    def _has_fused(self, sets: list[_Set], pixels: int) -> None:
        self._calls.remove(pixels)
        self._unwritten.update((each.place, each.pixels) for each in sets)

    def _write(self, place: int, fused: Fused | BaseException) -> None:
        try:
            if isinstance(fused, BaseException):
                raise fused
            outcome = self._fuser.save(self._cases[place], fused)
        except _FAILURES as error:
            outcome = failed(error)
        self._finished(place, outcome)

    def _finished(self, index: int, outcome: Outcome) -> None:
        self._outcomes[index] = outcome
        self._events.put(partial(self._tell, index))

    def _tell(self, index: int) -> None:
        if time.monotonic() - self._released > _SECONDS_BETWEEN_RELEASES:
            release_freed_memory()
            self._released = time.monotonic()
        self._reported.add(index)
        self._unwritten.pop(index, None)
        self._report(self._cases[index], self._outcomes[index])


def _raise(error: BaseException) -> None:
    raise error
