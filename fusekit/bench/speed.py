"""``fusekit bench speed``: our forms of a model, the oracle and anyone else's function in one race, round by round."""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fusekit.bench import speed_memory, speed_oracle
from fusekit.bench.provenance import code_version
from fusekit.bench.speed_entrants import Case, Entrant, Ready, first_output, load_form, prepare, watch
from fusekit.bench.speed_images import Files
from fusekit.bench.speed_race import Contestant, Stopwatch, race
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
        images: two files, or ``None`` for the embedded CT and MRI.
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
        return [Case(*each, images=self.images) for each in dict.fromkeys(itertools.product(*lists))]

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
    with speed_oracle.torch_threads(request.threads or torch.get_num_threads()):
        for case in request.cases():
            _try(case, request)
        threads = torch.get_num_threads()
        races = [_run(case, request, progress) for case in request.cases()]
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


def _run(case: Case, request: Request, progress: Callable[[], None]) -> dict[str, Any]:
    """Run one race and return it, JSON-able."""
    device, images = resolve_device(case.device), case.pair()
    entrants = [_chosen(each, case) for each in request.entrants()]
    ready = {each.label: prepare(case, each, images) for each in entrants}
    clock = _CLOCKS[request.clock]
    stopwatch, of_files = Stopwatch(device, clock), Stopwatch(torch.device("cpu"), clock)
    # Of ours, the last: it may fuse in tiles what the oracle does not.
    network = [each.network for each in ready.values() if each.network is not None][-1]
    files = Files(images, network, network.choose_rule(case.rule))
    rates = [Rate(dtype, *probe) for dtype in _dtypes(ready.values()) for probe in probes(device, dtype)]
    contestants = [Contestant(label, each.fuse, stopwatch) for label, each in ready.items()]
    contestants += [Contestant(_FILES, files.work(of_files), of_files)]
    contestants += [Contestant(rate.label, rate.work, stopwatch) for rate in rates]
    try:
        outputs = {each.label: first_output(case, each, ready[each.label]) for each in entrants}
        for each in ready.values():
            watch(each, stopwatch)
        for contestant in contestants:
            contestant.warm_up(request.warm_up)
        turns = race(contestants, request.rounds, progress)
    finally:
        files.close()
    plain = count_operations(*_plain(case, ready))
    entries = [
        Entry(
            entrant,
            ready[entrant.label],
            turns[entrant.label],
            outputs[entrant.label],
            {"plain": plain, "executed": _executed(entrant, ready[entrant.label])},
            _memory(case, entrant, ready[entrant.label], device) if request.memory else None,
        )
        for entrant in entrants
    ]
    rule = network.choose_rule(case.rule)
    return {
        "model": case.model,
        "rule": None if rule is None else rule.name,
        "device": str(device),
        "device_name": device_name(device),
        "size": list(case.size),
        "batch": case.batch,
        "images": "given" if case.images else "the embedded sample",
        "tf32": torch.backends.cudnn.allow_tf32 if device.type == "cuda" else None,
        "oracle": next((each.choices._asdict() for each in entrants if each.kind == "oracle"), None),
        "rates": [rate_row(rate, turns[rate.label]) for rate in rates],
        "files": file_row(turns[_FILES]),
        "rows": [row(entry, entries, rates, turns, case.batch) for entry in entries],
    }


def _chosen(entrant: Entrant, case: Case) -> Entrant:
    """Return the oracle with the choices that serve it best."""
    if entrant.kind != "oracle":
        return entrant
    ready = prepare(case, entrant, case.pair())
    assert ready.network is not None
    rule = ready.network.choose_rule(case.rule)
    return replace(entrant, choices=speed_oracle.choose(ready.network, rule, ready.sources))


def _dtypes(readies: Iterable[Ready]) -> list[torch.dtype]:
    names = dict.fromkeys(each.facts["dtype"] for each in readies if each.network is not None)
    return [getattr(torch, name) for name in names]


def _plain(case: Case, ready: dict[str, Ready]) -> tuple[Any, Sequence[Any]]:
    """Return the plain network in float32, with sources for it."""
    network = load_form(case, Entrant("ours", "plain"))
    sources = next(each.sources for each in ready.values() if each.network is not None)
    return network, [each.float() for each in sources]


def _executed(entrant: Entrant, ready: Ready) -> int | None:
    """Return the operations that an entrant carries out, ``None`` where what runs cannot be looked into."""
    visible = ready.facts["form"] in ("plain", "composed") and ready.facts["backend"] == "torch"
    if ready.network is None or not visible:
        return None
    return count_operations(ready.network, ready.sources)


def _memory(case: Case, entrant: Entrant, ready: Ready, device: torch.device) -> dict[str, int] | None:
    if device.type == "cuda":
        return speed_memory.on_cuda(ready, device)
    return speed_memory.of_process(case, entrant, torch.get_num_threads())
