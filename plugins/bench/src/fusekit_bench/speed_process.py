"""Workers of races in processes of their own, so that what one entrant sets for its process speeds up no other.

The inference form tells the C library to keep freed memory, and torch, oneDNN and OpenMP keep states of their own. Who
runs the authors' code by itself has none of that, and neither has the oracle in its own process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from fusekit.errors import FusekitError, FusekitWarning, OptionError, one_line
from fusekit_bench.speed_race import Turn
from fusekit_bench.speed_worker import Account, Introduction, Job, LocalWorker, use_threads

# Seconds that a process has to end by itself.
_PATIENCE = 2.0


class _Failure(NamedTuple):
    """An error on its way back: its nearest class that a message makes, the message, and where it was raised."""

    kind: type[FusekitError]
    message: str
    trace: str


class ProcessWorker:
    """A `fusekit_bench.speed_worker.Worker` that does its job in a process of its own.

    The process starts at once and waits for what it is told. It ends when it is closed, and when this process ends in
    whatever way.

    Args:
        job: as for `LocalWorker`.
    """

    def __init__(self, job: Job) -> None:
        self.name = job.entrant.label
        context = multiprocessing.get_context("spawn")
        self._connection, its_end = context.Pipe()
        # Not a daemon: these may not start processes, and someone else's function may want to.
        self._process = context.Process(target=_serve, args=(its_end, job), name=f"fusekit {self.name}")
        self._process.start()
        its_end.close()
        self._started, self._busy = False, True

    def wait_for_start(self) -> None:
        if not self._started:
            self._answer()
            self._started = True

    def introduce(self) -> Introduction:
        introduction: Introduction = self._ask("introduce")
        return introduction

    def warm_up(self, times: int) -> None:
        self._ask("warm_up", times)

    def turn(self) -> Turn:
        turn: Turn = self._ask("turn")
        return turn

    def account(self) -> Account:
        account: Account = self._ask("account")
        return account

    def close(self) -> None:
        """End the process: by itself where it is idle, by force where it does not within two seconds."""
        self._connection.close()
        self._process.join(0 if self._busy else _PATIENCE)
        for end in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                end()
                self._process.join(_PATIENCE)

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._busy = True
        # A process that has ended is found out by the answer that does not come.
        with contextlib.suppress(OSError):
            self._connection.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE)
            raise OptionError(
                f"the process of {self.name} has ended with code {self._process.exitcode}, as when the memory does not "
                "suffice; give smaller --sizes, or leave it out. Python programs that measure need the usual "
                "if __name__ == '__main__'"
            ) from None
        self._busy = False
        if isinstance(answer, _Failure):
            raise answer.kind(answer.message) from RuntimeError(answer.trace)
        return answer


def _serve(connection: Connection, job: Job) -> None:
    """Do what the other end asks for until it is gone."""
    # Ctrl-C goes to all processes of a terminal; the other end then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The other end has loaded the same models, and said so.
    warnings.simplefilter("ignore", FusekitWarning)
    use_threads(job.threads)
    worker = LocalWorker(job)
    with contextlib.suppress(EOFError, OSError):
        connection.send(None)
        while True:
            method, arguments = connection.recv()
            connection.send(_tried(worker, method, arguments))


def _tried(worker: LocalWorker, method: str, arguments: tuple[Any, ...]) -> Any:
    """Return what a method returns, or the failure in its place."""
    try:
        return getattr(worker, method)(*arguments)
    except Exception as error:
        kind, message = _nearest(type(error)), one_line(error)
        if not isinstance(error, FusekitError):
            message = f"{worker.name} fails for {worker.job.case.model!r}: {message}"
        return _Failure(kind, message, traceback.format_exc())


def _nearest(kind: type[BaseException]) -> type[FusekitError]:
    """Return the nearest class of an error of ours that takes a message alone and that the other end knows."""
    for each in kind.__mro__:
        if issubclass(each, FusekitError) and "__init__" not in vars(each):
            with contextlib.suppress(Exception):
                pickle.dumps(each)
                return each
    return OptionError
