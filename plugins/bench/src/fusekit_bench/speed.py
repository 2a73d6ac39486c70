"""``fusekit bench speed``: our forms of a model, the oracles and anyone else's function in one race, round by round."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from fusekit.errors import OptionError
from fusekit.machine.allocator import keep_freed_memory
from fusekit.machine.devices import device_name, processor_name, resolve_device
from fusekit.machine.threads import torch_threads
from fusekit.models.describe import versions
from fusekit.version import code_version
from fusekit_bench import speed_memory
from fusekit_bench.busy import load_average
from fusekit_bench.speed_entrants import Case, Entrant, load_form, prepare
from fusekit_bench.speed_images import Files, units
from fusekit_bench.speed_process import ProcessWorker
from fusekit_bench.speed_race import Contestant, Racer, Stopwatch, Turn, race
from fusekit_bench.speed_rates import count_operations, probes
from fusekit_bench.speed_rows import Entry, Rate, file_row, rate_row, row
from fusekit_bench.speed_worker import CLOCKS, Account, Introduction, Job, LocalWorker, Worker

#: Of the results as JSON; it changes when a key changes its meaning.
SCHEMA = "fusekit-speed-2"
_FILES = "files"


@dataclass(frozen=True)
class Request:
    """What to measure: every combination of the lists.

    Attributes:
        models, rules, devices, sizes, batches: as for `Case`; without rules, each model's own.
        forms, dtypes, backends: as for `Entrant`; without backends, the default of `fusekit.load`.
        images, fit: as for `Case`.
        against: ``module:callable`` of another fuser: a list of two float32 arrays (H, W) in [0, 1] → (H, W).
        threads: of torch; ``None`` leaves them.
        rounds: turns of each entrant that count.
        warm_up: turns before.
        oracle: whether the authors' order of operations races too, as published.
        tuned: whether it races in its best form too, beside the published one.
        memory: whether to measure the peak memory, on a CPU in a process an entrant.
        clock: of a CPU: ``wall``, or ``processor`` for the processor's time of one thread, which other programs hardly
            change.
    """

    models: Sequence[str] = ("ehdran",)
    rules: Sequence[str] = ()
    sizes: Sequence[tuple[int, int]] = ((256, 256),)
    batches: Sequence[int] = (1,)
    devices: Sequence[str] = ("auto",)
    forms: Sequence[str] = ("composed",)
    dtypes: Sequence[str] = ("float32",)
    backends: Sequence[str] = ()
    images: tuple[str, str] | None = None
    fit: str = "resample"
    against: str | None = None
    threads: int | None = None
    rounds: int = 7
    warm_up: int = 2
    oracle: bool = True
    tuned: bool = True
    memory: bool = True
    clock: str = "wall"

    def __post_init__(self) -> None:
        numbers = {"--rounds": self.rounds, "--warm-up": self.warm_up, "--batch": min(self.batches)}
        numbers |= {} if self.threads is None else {"--threads": self.threads}
        for option, number in numbers.items():
            if number < 1:
                raise OptionError(f"{option} is 1 or more, not {number}")
        if self.clock == "processor" and self.threads != 1:
            raise OptionError("--clock processor adds up what several threads take; give --threads 1 with it")

    def cases(self) -> list[Case]:
        """Return the races to run."""
        lists = (self.models, self.rules or (None,), self.devices, self.sizes, self.batches)
        return [Case(*each, images=self.images, fit=self.fit) for each in dict.fromkeys(itertools.product(*lists))]

    def entrants(self) -> list[Entrant]:
        """Return who runs in each race, the oracles first."""
        ours = itertools.product(self.forms, self.dtypes, self.backends or (None,))
        kinds = ["oracle", *(["tuned"] if self.tuned else [])] if self.oracle else []
        found = [Entrant(kind) for kind in kinds]
        found += [Entrant("ours", *each) for each in dict.fromkeys(ours)]
        return found + ([Entrant("against", target=self.against)] if self.against else [])


#: What makes a worker of a job.
Recruit: TypeAlias = Callable[[Job], Worker]


def recruit(job: Job) -> Worker:
    """Return a worker in a process of its own, or for a CUDA device in this one: there nothing is set for a process."""
    return LocalWorker(job) if resolve_device(job.case.device).type == "cuda" else ProcessWorker(job)


def measure(
    request: Request, progress: Callable[[], None] = lambda: None, recruit: Recruit = recruit
) -> dict[str, Any]:
    """Run the races.

    Args:
        request: what to measure.
        progress: called after each round.
        recruit: makes the workers. Those of a CPU are processes, which load the calling program's main module too.

    Returns:
        JSON-able: ``schema``, ``code``, ``versions``, ``machine`` (processor, cores, threads, load average before),
        ``rounds``, ``clock``, ``against``, and ``races``, a list of what `speed_rows` describes.

    Raises:
        FusekitError: a choice that cannot be served; all are loaded before anything is timed.
    """
    busy_before = load_average()
    with torch_threads(request.threads or torch.get_num_threads()):
        for case in request.cases():
            _try(case, request)
        threads = torch.get_num_threads()
        races = [_Race(case, request).run(progress, recruit) for case in request.cases()]
    return {
        "schema": SCHEMA,
        "code": code_version(),
        "versions": _versions(request),
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": threads,
            "load_average": busy_before,
            "system": platform.platform(),
        },
        "rounds": request.rounds,
        "warm_up": request.warm_up,
        "clock": request.clock,
        "against": request.against,
        "races": races,
    }


def _versions(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in dict.fromkeys(request.models):
        found |= versions(load_form(Case(model, device="cpu"), Entrant("ours", "plain")))
    return found


def _try(case: Case, request: Request) -> None:
    """Load what a race needs, so that most of what cannot run is known before anything is timed."""
    small = replace(case, size=(32, 32), batch=1)
    for entrant in request.entrants():
        prepare(small, entrant, small.pair())


class _Race:
    """One race: everyone made ready, run, and told of."""

    def __init__(self, case: Case, request: Request) -> None:
        self.case, self.request, self.device = case, request, resolve_device(case.device)
        self.images = case.pair()
        # Files are those of ours, the last: it may fuse in tiles what the oracle does not.
        last = [each for each in request.entrants() if each.kind == "ours"][-1]
        self.network = load_form(case, last)
        self.rule = self.network.choose_rule(case.rule)

    def run(self, progress: Callable[[], None], recruit: Recruit) -> dict[str, Any]:
        """Run it and return what was found, JSON-able."""
        with contextlib.ExitStack() as stack:
            workers: list[Worker] = []
            for each in self.request.entrants():
                workers.append(recruit(Job(self.case, each, torch.get_num_threads(), self.request.clock)))
                stack.callback(workers[-1].close)
            for worker in workers:
                worker.wait_for_start()
            introductions = [worker.introduce() for worker in workers]
            rates = self._rates(introductions)
            files = stack.enter_context(Files(self.images, self.network, self.rule))
            racers: list[Racer] = [*workers, *self._others(files, rates)]
            for racer in racers:
                racer.warm_up(self.request.warm_up)
            turns = race(racers, self.request.rounds, progress)
            accounts = [worker.account() for worker in workers]
        # By now the workers' memory is free for those of whom it is measured.
        told = zip(introductions, accounts, strict=True)
        return self._found(rates, turns, [self._entry(*each, turns) for each in told])

    def _rates(self, introductions: Sequence[Introduction]) -> list[Rate]:
        """Return the probes of the machine in the dtypes of all networks."""
        dtypes = dict.fromkeys(each.facts["dtype"] for each in introductions if each.policy is not None)
        return [
            Rate(dtype, *probe)
            for dtype in (getattr(torch, name) for name in dtypes)
            for probe in probes(self.device, dtype)
        ]

    def _others(self, files: Files, rates: Sequence[Rate]) -> list[Contestant]:
        """Return what takes turns besides, in this process: files, and the machine at its full rate."""
        if self.device.type == "cpu":
            # As our forms have it; without it large outputs would cost time that is not the convolution's.
            keep_freed_memory()
        clock = CLOCKS[self.request.clock]
        of_files, stopwatch = Stopwatch(torch.device("cpu"), clock), Stopwatch(self.device, clock)
        contestants = [Contestant(_FILES, files.work(of_files), of_files)]
        return contestants + [Contestant(rate.label, rate.work, stopwatch) for rate in rates]

    def _entry(self, of: Introduction, account: Account, turns: Mapping[str, list[Turn]]) -> Entry:
        operations = {"plain": self._plain_operations, "executed": account.operations}
        memory = account.memory if self.request.memory else None
        if self.request.memory and self.device.type != "cuda":
            memory = speed_memory.of_process(self.case, of.entrant, torch.get_num_threads())
        return Entry(of, turns[of.entrant.label], account.report, operations, memory)

    @functools.cached_property
    def _plain_operations(self) -> int:
        """The operations of the plain network, in float32 as its weights are stored."""
        network = load_form(self.case, Entrant("ours", "plain"))
        parameter = next(network.parameters(), torch.zeros(()))
        given = units(self.images, self.case.batch, network)
        return count_operations(network, [torch.from_numpy(each)[:, None].to(parameter.device) for each in given])

    def _found(
        self, rates: Sequence[Rate], turns: Mapping[str, Sequence[Turn]], entries: Sequence[Entry]
    ) -> dict[str, Any]:
        choices = [each.of.entrant.choices._asdict() for each in entries if each.of.entrant.kind == "tuned"]
        return {
            "model": self.case.model,
            "rule": None if self.rule is None else self.rule.name,
            "device": str(self.device),
            "device_name": device_name(self.device),
            "size": list(self.case.size),
            "batch": self.case.batch,
            "images": "given" if self.case.images else "the embedded sample",
            "fit": self.case.fit,
            "tf32": torch.backends.cudnn.allow_tf32 if self.device.type == "cuda" else None,
            "tuned": choices[0] if choices else None,
            "rates": [rate_row(rate, turns[rate.label]) for rate in rates],
            "files": file_row(turns[_FILES]),
            "rows": [row(entry, entries, rates, turns, self.case.batch) for entry in entries],
        }
