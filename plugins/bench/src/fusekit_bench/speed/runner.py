"""``fusekit bench speed``: our forms of a model, the reference and anyone else's function in one race."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch.profiler import record_function

from fusekit.errors import FusekitWarning
from fusekit.machine.allocator import keep_freed_memory
from fusekit.machine.devices import device_name, processor_name, resolve_device
from fusekit.machine.threads import torch_threads
from fusekit.models.describe import versions
from fusekit.version import code_version
from fusekit_bench.publish import load_average
from fusekit_bench.requests import Speed
from fusekit_bench.speed.cases import Case, Entrant, Files, cases, entrants, has_weights, load_form, prepare, units
from fusekit_bench.speed.race import CLOCKS, Contestant, Racer, Stopwatch, Timing, race
from fusekit_bench.speed.rates import Rate, count_operations, probes
from fusekit_bench.speed.reference import is_known
from fusekit_bench.speed.rows import Entry, file_row, rate_row, row
from fusekit_bench.speed.workers import Account, Introduction, Job, LocalWorker, ProcessWorker, Worker, memory_of

#: Of the results as JSON; it changes when a key changes its meaning.
SCHEMA = "fusekit-speed-3"
_FILES = "files"

#: What makes a worker of a job.
Recruit: TypeAlias = Callable[[Job], Worker]


def recruit(job: Job) -> Worker:
    """Return a worker in a process of its own, or for a CUDA device in this one: there nothing is set for a process."""
    return LocalWorker(job) if resolve_device(job.case.device).type == "cuda" else ProcessWorker(job)


def measure(request: Speed, progress: Callable[[], None] = lambda: None, recruit: Recruit = recruit) -> dict[str, Any]:
    """Run the races.

    Args:
        request: what to measure.
        progress: called after each round.
        recruit: makes the workers. Those of a CPU are processes, which load the calling program's main module too.

    Returns:
        JSON-able: ``schema``, ``code``, ``versions``, ``machine`` (processor, cores, threads, load average before),
        ``rounds``, ``clock``, ``against``, and ``races``, each with its ``rows`` by `fusekit_bench.speed.rows.row`.

    Raises:
        FusekitError: a choice that cannot be served; all are loaded before anything is timed.
    """
    busy_before = load_average()
    with torch_threads(request.threads or torch.get_num_threads()):
        known = {model: _is_published(Case(model, device="cpu")) for model in dict.fromkeys(request.models)}
        for case in cases(request):
            for entrant in entrants(request, published=known[case.model]):
                prepare(replace(case, size=(32, 32), batch=1), entrant)
        if request.reference and not all(known.values()):
            unknown = ", ".join(model for model, published in known.items() if not published)
            warnings.warn(
                f"{unknown}: the authors' order of operations is known of ehdran and dilran alone: no reference races",
                FusekitWarning,
                stacklevel=2,
            )
        threads = torch.get_num_threads()
        races = [_Race(case, request, published=known[case.model]).run(progress, recruit) for case in cases(request)]
    found: dict[str, str] = {}
    for model in dict.fromkeys(request.models):
        found |= versions(load_form(Case(model, device="cpu"), Entrant("ours", "plain")))
    return {
        "schema": SCHEMA,
        "code": code_version(),
        "versions": found,
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


def _is_published(case: Case) -> bool:
    return is_known(load_form(case, Entrant("ours", "plain")))


class _Race:
    """One race: everyone made ready, run, and told of."""

    def __init__(self, case: Case, request: Speed, *, published: bool) -> None:
        self.case, self.request, self.device = case, request, resolve_device(case.device)
        self.entrants, self.images = entrants(request, published=published), case.pair()
        # Files are those of ours, the last: it may fuse in tiles what the reference does not.
        self.network = load_form(case, [each for each in self.entrants if each.kind == "ours"][-1])
        self.rule = self.network.choose_rule(case.rule)

    def run(self, progress: Callable[[], None], recruit: Recruit) -> dict[str, Any]:
        """Run it and return what was found, JSON-able."""
        with contextlib.ExitStack() as stack:
            workers: list[Worker] = []
            for each in self.entrants:
                workers.append(recruit(self._job(each)))
                stack.callback(workers[-1].close)
            for worker in workers:
                worker.wait_for_start()
            introductions = [worker.introduce() for worker in workers]
            rates = self._rates(introductions)
            files = stack.enter_context(Files(self.images, self.network, self.rule))
            racers: list[Racer[Timing]] = [*workers, *self._others(files, rates)]
            for racer in racers:
                racer.warm_up(self.request.warm_up)
            timings = race(racers, self.request.rounds, progress)
            accounts = [worker.account() for worker in workers]
        # By now the workers' memory is free for those of whom it is measured.
        told = zip(introductions, accounts, strict=True)
        return self._found(rates, timings, [self._entry(*each, timings) for each in told])

    def _job(self, entrant: Entrant) -> Job:
        return Job(self.case, entrant, torch.get_num_threads(), self.request.clock)

    def _rates(self, introductions: Sequence[Introduction]) -> list[Rate]:
        """Return the probes of the machine in the dtypes of all networks."""
        names = dict.fromkeys(each.facts["dtype"] for each in introductions if each.policy is not None)
        dtypes = [getattr(torch, name) for name in names]
        return [rate for dtype in dtypes for rate in probes(self.device, dtype)]

    def _others(self, files: Files, rates: Sequence[Rate]) -> list[Contestant]:
        """Return what races besides, in this process: files, and the machine at its full rate."""
        if self.device.type == "cpu":
            # As our forms have it; without it large outputs would cost time that is not the convolution's.
            keep_freed_memory()
        clock = CLOCKS[self.request.clock]

        def read_and_write() -> None:
            with record_function("fusekit.read"):
                files.read()
            with record_function("fusekit.write"):
                files.write()

        stopwatch = Stopwatch(self.device, clock)
        contestants = [Contestant(_FILES, read_and_write, Stopwatch(torch.device("cpu"), clock))]
        return contestants + [Contestant(rate.label, rate.work, stopwatch) for rate in rates]

    def _entry(self, of: Introduction, account: Account, timings: Mapping[str, list[Timing]]) -> Entry:
        operations = {"plain": self._plain_operations, "executed": account.operations}
        memory = account.memory if self.request.memory else None
        if self.request.memory and self.device.type != "cuda":
            memory = memory_of(self._job(of.entrant))
        return Entry(of, timings[of.entrant.label], account.report, operations, memory)

    @functools.cached_property
    def _plain_operations(self) -> int:
        """The operations of the plain network, in float32 as its weights are stored."""
        network = load_form(self.case, Entrant("ours", "plain"))
        given = units(self.images, self.case.batch, network)
        return count_operations(network, [torch.from_numpy(each)[:, None].to(network.device) for each in given])

    def _found(
        self, rates: Sequence[Rate], timings: Mapping[str, Sequence[Timing]], entries: Sequence[Entry]
    ) -> dict[str, Any]:
        choices = [each.of.entrant.choices._asdict() for each in entries if each.of.entrant.kind == "tuned"]
        return {
            "model": self.case.model,
            "rule": None if self.rule is None else self.rule.name,
            "initial": not has_weights(self.network),
            "device": str(self.device),
            "device_name": device_name(self.device),
            "size": list(self.case.size),
            "batch": self.case.batch,
            "images": "given" if self.case.images else "the embedded sample",
            "fit": self.case.fit,
            "tf32": torch.backends.cudnn.allow_tf32 if self.device.type == "cuda" else None,
            "tuned": choices[0] if choices else None,
            "rates": [rate_row(rate, timings[rate.label]) for rate in rates],
            "files": file_row(timings[_FILES]),
            "rows": [row(entry, entries, rates, timings, self.case.batch) for entry in entries],
        }
