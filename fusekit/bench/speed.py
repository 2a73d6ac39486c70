"""``fusekit bench speed``: our forms of a model, the oracle and anyone else's function in one race, round by round."""

from __future__ import annotations

import functools
import itertools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fusekit.bench import speed_memory, speed_oracle
from fusekit.bench.provenance import code_version
from fusekit.bench.speed_entrants import Case, Entrant, Ready, first_output, load_form, prepare, watch
from fusekit.bench.speed_images import Files
from fusekit.bench.speed_race import Contestant, Stopwatch, Turn, race, torch_threads
from fusekit.bench.speed_rates import count_operations, probes
from fusekit.bench.speed_rows import Entry, Rate, file_row, rate_row, row
from fusekit.errors import OptionError
from fusekit.hardware import device_name, processor_name
from fusekit.loading import resolve_device
from fusekit.record import versions

#: Of the results as JSON; it changes when a key changes its meaning.
SCHEMA = "fusekit-speed-1"
_FILES = "files"
_CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


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
        oracle: whether it races too.
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
        """Return who runs in each race, the oracle first."""
        ours = itertools.product(self.forms, self.dtypes, self.backends or (None,))
        found = [Entrant("oracle")] if self.oracle else []
        found += [Entrant("ours", *each) for each in dict.fromkeys(ours)]
        return found + ([Entrant("against", target=self.against)] if self.against else [])


def measure(request: Request, progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run the races.

    Args:
        request: what to measure.
        progress: called after each round.

    Returns:
        JSON-able: ``schema``, ``code``, ``versions``, ``machine`` (processor, cores, threads, load average before),
        ``rounds``, ``clock``, ``against``, and ``races``, a list of what `speed_rows` describes.

    Raises:
        FusekitError: a choice that cannot be served; all are loaded before anything is timed.
    """
    load = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    with torch_threads(request.threads or torch.get_num_threads()):
        for case in request.cases():
            _try(case, request)
        threads = torch.get_num_threads()
        races = [_Race(case, request).run(progress) for case in request.cases()]
    return {
        "schema": SCHEMA,
        "code": code_version(),
        "versions": _versions(request),
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": threads,
            "load_average": load,
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
        self.entrants = [_chosen(each, case) for each in request.entrants()]
        self.ready = {each.label: prepare(case, each, self.images) for each in self.entrants}
        self.networks = [each for each in self.ready.values() if each.network is not None]
        dtypes = dict.fromkeys(each.facts["dtype"] for each in self.networks)
        self.rates = [
            Rate(dtype, *probe)
            for dtype in (getattr(torch, name) for name in dtypes)
            for probe in probes(self.device, dtype)
        ]

    def run(self, progress: Callable[[], None]) -> dict[str, Any]:
        """Run it and return what was found, JSON-able."""
        # Of ours, the last: it may fuse in tiles what the oracle does not.
        network = self.networks[-1].network
        assert network is not None
        rule = network.choose_rule(self.case.rule)
        outputs = {each.label: first_output(self.case, each, self.ready[each.label]) for each in self.entrants}
        with Files(self.images, network, rule) as files:
            turns = race(self._contestants(files), self.request.rounds, progress)
        entries = [self._entry(each, turns, outputs) for each in self.entrants]
        choices = [each.choices._asdict() for each in self.entrants if each.kind == "oracle"]
        return {
            "model": self.case.model,
            "rule": None if rule is None else rule.name,
            "device": str(self.device),
            "device_name": device_name(self.device),
            "size": list(self.case.size),
            "batch": self.case.batch,
            "images": "given" if self.case.images else "the embedded sample",
            "fit": self.case.fit,
            "tf32": torch.backends.cudnn.allow_tf32 if self.device.type == "cuda" else None,
            "oracle": choices[0] if choices else None,
            "rates": [rate_row(rate, turns[rate.label]) for rate in self.rates],
            "files": file_row(turns[_FILES]),
            "rows": [row(entry, entries, self.rates, turns, self.case.batch) for entry in entries],
        }

    def _contestants(self, files: Files) -> list[Contestant]:
        """Return everyone, warmed up."""
        clock = _CLOCKS[self.request.clock]
        stopwatch, of_files = Stopwatch(self.device, clock), Stopwatch(torch.device("cpu"), clock)
        for each in self.ready.values():
            watch(each, stopwatch)
        contestants = [Contestant(label, each.fuse, stopwatch) for label, each in self.ready.items()]
        contestants += [Contestant(_FILES, files.work(of_files), of_files)]
        contestants += [Contestant(rate.label, rate.work, stopwatch) for rate in self.rates]
        for contestant in contestants:
            contestant.warm_up(self.request.warm_up)
        return contestants

    def _entry(self, entrant: Entrant, turns: Mapping[str, list[Turn]], outputs: Mapping[str, Tensor]) -> Entry:
        label, ready = entrant.label, self.ready[entrant.label]
        operations = {"plain": self._plain_operations, "executed": _executed(ready)}
        return Entry(entrant, ready, turns[label], outputs[label], operations, self._memory(entrant, ready))

    @functools.cached_property
    def _plain_operations(self) -> int:
        """The operations of the plain network, in float32 as its weights are stored."""
        network = load_form(self.case, Entrant("ours", "plain"))
        return count_operations(network, [each.float() for each in self.networks[0].sources])

    def _memory(self, entrant: Entrant, ready: Ready) -> dict[str, int] | None:
        if not self.request.memory:
            return None
        if self.device.type == "cuda":
            return speed_memory.on_cuda(ready, self.device)
        return speed_memory.of_process(self.case, entrant, torch.get_num_threads())


def _chosen(entrant: Entrant, case: Case) -> Entrant:
    """Return the oracle with the choices that serve it best."""
    if entrant.kind != "oracle":
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
