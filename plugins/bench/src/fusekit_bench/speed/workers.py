"""One entrant of a race: made ready, timed round by round, and told of; in this process or in one of its own.

The inference form tells the C library to keep freed memory, and torch, oneDNN and OpenMP keep states of their own. Who
runs the authors' code by itself has none of that, and neither has the reference in its own process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from fusekit.errors import FusekitError, FusekitWarning, OptionError, one_line
from fusekit.images.image import Array
from fusekit.machine.devices import resolve_device
from fusekit.machine.memory import resident_bytes
from fusekit.registry.specs import OutputPolicy
from fusekit_bench.speed.cases import Case, Entrant, Ready, first_output, has_weights, load_form, prepare, tuned
from fusekit_bench.speed.race import CLOCKS, Contestant, Stopwatch, Timing
from fusekit_bench.speed.rates import count_operations

# Seconds that a process has to end by itself.
_PATIENCE = 2.0


class Job(NamedTuple):
    """What a worker is given.

    Attributes:
        case: the race.
        entrant: who runs it.
        threads: of torch.
        clock: of a CPU, ``wall`` or ``processor``.
        patience: seconds after which a process that has not answered is given up; ``None`` for never.
    """

    case: Case
    entrant: Entrant
    threads: int
    clock: str = "wall"
    patience: float | None = None


class Introduction(NamedTuple):
    """What is known of an entrant before the race.

    Attributes:
        entrant: with the choices of its trial.
        facts: device, dtype, backend and form that run; ``None`` each of others' functions.
        policy: how a model's output is brought to [0, 1]; ``None`` of others' functions.
        images: what it fused, raw: (B, 1, H, W) float32.
    """

    entrant: Entrant
    facts: Mapping[str, Any]
    policy: OutputPolicy | None
    images: Array


class Account(NamedTuple):
    """What is told of an entrant after the race.

    Attributes:
        report: what the rule says of the last fusion.
        operations: that were carried out, ``None`` where what runs cannot be looked into.
        memory: on a CUDA device, bytes ``before`` and at the ``peak``.
    """

    report: Mapping[str, Any]
    operations: int | None
    memory: Mapping[str, int] | None


class Description(NamedTuple):
    """What is known of a model beside its times.

    Attributes:
        parameters: their number.
        weights: what they are called, ``initial``, or empty where none are needed.
        rule: its name, ``None`` for a model that takes none.
        form: that ran.
    """

    parameters: int
    weights: str
    rule: str | None
    form: str


class LocalWorker(Contestant):
    """A racer for one entrant, in this process; its methods are called in the order in which they stand here.

    Args:
        job: what it does. The threads of torch are this process's.
    """

    def __init__(self, job: Job) -> None:
        stopwatch = Stopwatch(resolve_device(job.case.device), CLOCKS[job.clock])
        super().__init__(job.entrant.label, lambda: None, stopwatch)
        self.job = job
        self._ready: Ready | None = None

    def wait_for_start(self) -> None:
        """Return once starting, as of a process, disturbs no one who is timed."""

    def introduce(self) -> Introduction:
        """Make the entrant ready and fuse once.

        Raises:
            FusekitError: it cannot run, or does not fuse.
        """
        case, entrant = self.job.case, tuned(self.job.entrant, self.job.case)
        ready = self._ready = prepare(case, entrant)
        self.work = ready.fuse
        policy = None if ready.network is None else ready.network.spec.output
        return Introduction(entrant, ready.facts, policy, first_output(case, entrant, ready).numpy())

    def account(self) -> Account:
        """Return what is told after the race."""
        assert self._ready is not None
        device = self.stopwatch.device
        # Counting fuses too, and a rule reports of what was fused last.
        report = self._ready.report()
        memory = _memory_on_cuda(self._ready, device) if device.type == "cuda" else None
        return Account(report, _executed(self._ready), memory)

    def peak(self) -> int:
        """Return the peak in bytes of what fused once by now: of this process's memory, or of a CUDA device's."""
        assert self._ready is not None
        device = self.stopwatch.device
        return _memory_on_cuda(self._ready, device)["peak"] if device.type == "cuda" else peak_bytes()

    def describe(self) -> Description:
        """Return what is known of the model beside its times."""
        assert self._ready is not None
        network, rule = self._ready.network, self._ready.rule
        assert network is not None
        weights = network.provenance.weights if network.provenance is not None else None
        name = weights.name if weights is not None else "" if has_weights(network) else "initial"
        count = sum(each.numel() for each in network.parameters())
        return Description(count, name, None if rule is None else rule.name or "", network.form)

    def operations(self) -> int:
        """Return the operations of the plain network on the case's images."""
        assert self._ready is not None
        plain = load_form(self.job.case, Entrant("ours", "plain"))
        return count_operations(plain, [source.float() for source in self._ready.sources])

    def memory(self) -> dict[str, int]:
        """Fuse once and nothing else; return the resident bytes of this process ``before``, and at the ``peak``."""
        ready = prepare(self.job.case, self.job.entrant)
        before = resident_bytes() or 0
        ready.fuse()
        return {"before": before, "peak": peak_bytes()}

    def close(self) -> None:
        """End what the worker keeps running; may be called at any time, and again."""
        self._ready, self.work = None, lambda: None


def _executed(ready: Ready) -> int | None:
    """Return the operations that an entrant carries out, ``None`` where what runs cannot be looked into."""
    visible = ready.facts["form"] in ("plain", "composed") and ready.facts["backend"] == "torch"
    if ready.network is None or not visible:
        return None
    return count_operations(ready.network, ready.sources, ready.rule)


def _memory_on_cuda(ready: Ready, device: torch.device) -> dict[str, int]:
    """Return ``before``, the bytes allocated on a CUDA device, and ``peak``, the most that were while fusing once."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    ready.fuse()
    torch.cuda.synchronize(device)
    return {"before": before, "peak": torch.cuda.max_memory_allocated(device)}


def peak_bytes() -> int:
    """Return the peak of this process's resident memory, 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def memory_of(job: Job) -> dict[str, int] | None:
    """Return what `LocalWorker.memory` says in a process that does nothing else.

    ``None`` where the process did not come to its end, as where the system ends it for want of memory, or where the
    system does not tell.
    """
    with contextlib.closing(ProcessWorker(job)) as worker:
        try:
            worker.wait_for_start()
            found = worker.memory()
        except FusekitError:
            return None
    return found if found["peak"] else None


class _Failure(NamedTuple):
    """An error on its way back: its nearest class that a message makes, the message, and where it was raised."""

    kind: type[FusekitError]
    message: str
    trace: str


class ProcessWorker:
    """A `LocalWorker` in a process of its own.

    The process starts at once and waits for what it is told. It ends when it is closed, and when this process ends in
    whatever way.

    Args:
        job: as for `LocalWorker`.
    """

    def __init__(self, job: Job) -> None:
        self.name, self._patience = job.entrant.label, job.patience
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

    def run(self) -> Timing:
        timing: Timing = self._ask("run")
        return timing

    def account(self) -> Account:
        account: Account = self._ask("account")
        return account

    def memory(self) -> dict[str, int]:
        memory: dict[str, int] = self._ask("memory")
        return memory

    def peak(self) -> int:
        peak: int = self._ask("peak")
        return peak

    def describe(self) -> Description:
        described: Description = self._ask("describe")
        return described

    def operations(self) -> int:
        operations: int = self._ask("operations")
        return operations

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
            if not self._connection.poll(self._patience):
                raise OptionError(f"it takes longer than {self._patience:g} seconds; --patience waits longer")
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


Worker: TypeAlias = LocalWorker | ProcessWorker


def _serve(connection: Connection, job: Job) -> None:
    """Do what the other end asks for until it is gone."""
    # Ctrl-C goes to all processes of a terminal; the other end then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The other end has loaded the same models, and said so.
    warnings.simplefilter("ignore", FusekitWarning)
    if torch.get_num_threads() != job.threads:
        torch.set_num_threads(job.threads)
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
