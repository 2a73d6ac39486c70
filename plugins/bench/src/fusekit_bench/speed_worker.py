"""One entrant of a race: made ready, timed turn by turn, and told of; in this process or in one of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch

from fusekit.images.image import Array
from fusekit.machine.devices import resolve_device
from fusekit.registry.specs import OutputPolicy
from fusekit_bench import speed_memory, speed_oracle
from fusekit_bench.speed_entrants import Case, Entrant, Ready, first_output, prepare, watch
from fusekit_bench.speed_race import Contestant, Racer, Stopwatch, Turn
from fusekit_bench.speed_rates import count_operations

CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


class Job(NamedTuple):
    """What a worker is given.

    Attributes:
        case: the race.
        entrant: who runs it.
        threads: of torch.
        clock: of a CPU, ``wall`` or ``processor``.
    """

    case: Case
    entrant: Entrant
    threads: int
    clock: str = "wall"


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


class Worker(Racer, Protocol):
    """A `Racer` for one entrant; its methods are called in the order in which they stand here."""

    def wait_for_start(self) -> None:
        """Return once starting, as of a process, disturbs no one who is timed."""

    def introduce(self) -> Introduction:
        """Make the entrant ready and fuse once.

        Raises:
            FusekitError: it cannot run, or does not fuse.
        """

    def account(self) -> Account:
        """Return what is told after the race."""

    def close(self) -> None:
        """End what the worker keeps running; may be called at any time, and again."""


class LocalWorker:
    """A worker in this process.

    Args:
        job: what it does. The threads of torch are this process's.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.name = job, job.entrant.label
        self._ready: Ready | None = None
        self._contestant: Contestant | None = None

    def wait_for_start(self) -> None:
        pass

    def introduce(self) -> Introduction:
        case, entrant = self.job.case, _tuned(self.job.entrant, self.job.case)
        ready = self._ready = prepare(case, entrant, case.pair())
        images = first_output(case, entrant, ready).numpy()
        stopwatch = Stopwatch(resolve_device(case.device), CLOCKS[self.job.clock])
        watch(ready, stopwatch)
        self._contestant = Contestant(self.name, ready.fuse, stopwatch)
        policy = None if ready.network is None else ready.network.spec.output
        return Introduction(entrant, ready.facts, policy, images)

    def warm_up(self, times: int) -> None:
        assert self._contestant is not None
        self._contestant.warm_up(times)

    def turn(self) -> Turn:
        assert self._contestant is not None
        return self._contestant.turn()

    def account(self) -> Account:
        assert self._ready is not None
        device = resolve_device(self.job.case.device)
        # Counting fuses too, and a rule reports of what was fused last.
        report = self._ready.report()
        memory = speed_memory.on_cuda(self._ready, device) if device.type == "cuda" else None
        return Account(report, _executed(self._ready), memory)

    def close(self) -> None:
        self._ready = self._contestant = None


def _tuned(entrant: Entrant, case: Case) -> Entrant:
    """Return the tuned oracle with the choices that serve it best, and others as they are."""
    if entrant.kind != "tuned":
        return entrant
    ready = prepare(case, entrant, case.pair())
    assert ready.network is not None
    rule = ready.network.choose_rule(case.rule)
    return replace(entrant, choices=speed_oracle.choose(ready.network, rule, ready.sources))


def _executed(ready: Ready) -> int | None:
    """Return the operations that an entrant carries out, ``None`` where what runs cannot be looked into."""
    visible = ready.facts["form"] in ("plain", "composed") and ready.facts["backend"] == "torch"
    if ready.network is None or not visible:
        return None
    return count_operations(ready.network, ready.sources, ready.rule)


def use_threads(count: int) -> None:
    """Let torch use ``count`` threads, leaving alone what is so already."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
