"""``fusekit bench speed --compare``: model beside model, each in one race with the first one.

The first model races with every other, so that each ratio is of the same rounds on the same machine. A model has a
process of its own for each size; what it cannot do there costs its own row alone, and rows may be kept as they come.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fusekit.errors import FusekitError, InputError, one_line, size_text
from fusekit.machine.devices import device_name, processor_name, resolve_device
from fusekit.machine.files import remove_stale_partials, sha256_of, write_text_atomically
from fusekit.machine.parsing import read_json
from fusekit.machine.threads import torch_threads
from fusekit.models.describe import versions
from fusekit.models.locate import locate
from fusekit.options import DEFAULT_MODEL
from fusekit.registry.discovery import registries
from fusekit.version import code_version
from fusekit_bench.paper import paper_tables
from fusekit_bench.publish import load_average
from fusekit_bench.requests import PATIENCE, Speed
from fusekit_bench.speed.cases import Case, Entrant, load_form
from fusekit_bench.speed.race import Timing, ratios, spread
from fusekit_bench.speed.runner import Recruit, recruit
from fusekit_bench.speed.workers import Job, Worker

#: Of the results as JSON; it changes when a key changes its meaning.
SCHEMA = "fusekit-models-1"
#: Share of its patience that may go to rounds that do not count.
_WARM_UP = 0.25


@dataclass(frozen=True)
class Candidate:
    """A model with the rule that it is timed with, ``None`` for its own."""

    model: str
    rule: str | None = None

    @property
    def name(self) -> str:
        """What its rows are called."""
        return f"{self.model} · {self.rule}" if self.rule else self.model


def candidates(texts: Sequence[str]) -> list[Candidate]:
    """Return the models that ``MODEL[:RULE]`` texts name, the first one that all others are compared with.

    ``all`` is every registered model, the default model first.

    Raises:
        FusekitError: there is no such model or rule.
    """
    found: list[Candidate] = []
    for text in texts:
        if text == "all":
            names = registries().models.names()
            found += [Candidate(name) for name in sorted(names, key=lambda name: name != DEFAULT_MODEL)]
            continue
        model, _, rule = text.partition(":")
        locate(model, None)
        if rule:
            registries().fusion_rules.entry(rule)
        found.append(Candidate(model, rule or None))
    return list(dict.fromkeys(found))


def steps(request: Speed) -> int:
    """Return how many rows there are to measure, for a bar."""
    return len(candidates(request.models)) * len(request.sizes)


def compare(request: Speed, progress: Callable[[], None] = lambda: None, recruit: Recruit = recruit) -> dict[str, Any]:
    """Measure every model at every size.

    Args:
        request: what to measure.
        progress: called after each row.
        recruit: makes the workers, as for `fusekit_bench.speed.runner.measure`.

    Returns:
        JSON-able: ``schema``, ``code``, ``versions``, ``machine``, ``device``, ``device_name``, ``dtype``, ``images``,
        ``fit``, ``rounds``, ``clock``, ``first``, ``paper``, and ``rows``, each with ``model``, ``rule``, ``name``,
        ``size``, and either ``failed``, why there is nothing else, or ``seconds`` and ``ratio`` to the first one
        (spreads), ``rounds`` (seconds of each), ``memory`` (peak in bytes), ``parameters``, ``weights``, ``form`` and,
        at the smallest size, ``operations``.

    Raises:
        FusekitError: the first model cannot be measured, or there is no such model or rule.
    """
    busy_before = load_average()
    named = candidates(request.models)
    with torch_threads(request.threads or torch.get_num_threads()):
        threads = torch.get_num_threads()
        rows = []
        for size in request.sizes:
            with _Comparison(request, size, named[0], recruit) as comparison:
                for each in named:
                    rows.append(comparison.row(each))
                    progress()
    device = resolve_device(request.devices[0])
    return {
        "schema": SCHEMA,
        "code": code_version(),
        "versions": versions(load_form(Case(named[0].model, device="cpu"), Entrant("ours", "plain"))),
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": threads,
            "load_average": busy_before,
            "system": platform.platform(),
        },
        "device": str(device),
        "device_name": device_name(device),
        "dtype": request.dtypes[0],
        "images": "given" if request.images else "the embedded sample",
        "fit": request.fit,
        "rounds": request.rounds,
        "clock": request.clock,
        "first": named[0].name,
        "paper": {"citation": paper_tables()["citation"], **paper_tables()["speed"]},
        "rows": rows,
    }


class _Comparison:
    """All models at one size, beside the first one, whose process lasts as long."""

    def __init__(self, request: Speed, size: tuple[int, int], first: Candidate, recruit: Recruit) -> None:
        self.request, self.size, self.first, self._recruit = request, size, first, recruit
        self.patience = float(request.patience or PATIENCE)
        self._stack = contextlib.ExitStack()
        self._yardstick: Worker | None = None
        self._began, self._peak = 0.0, 0

    def __enter__(self) -> _Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def row(self, of: Candidate) -> dict[str, Any]:
        """Return what is found of a model, now or by a run before; what failed is tried again."""
        about = {"name": of.name, "model": of.model, "rule": of.rule, "size": list(self.size)}
        kept = self._kept(of)
        known = _read(kept, self._key(of))
        if known is not None:
            return known
        try:
            self._check(of)
            found = {**about, **self._measured(of)}
        except (FusekitError, RuntimeError) as error:
            if of == self.first:
                raise
            return {**about, "failed": one_line(error)}
        if kept is not None:
            write_text_atomically(kept, json.dumps({"key": self._key(of), "row": found}, indent=1) + "\n")
        return found

    def _check(self, of: Candidate) -> None:
        spec = locate(of.model, None).spec
        spec.check_count(2)
        if 2 not in spec.dims:
            raise InputError(f"the model {spec.id!r} fuses volumes, and pictures are timed")

    def _measured(self, of: Candidate) -> dict[str, Any]:
        yardstick = self._first()
        if of == self.first:
            return self._told(yardstick, *self._timed(yardstick, yardstick, self._began))
        with contextlib.closing(self._recruit(self._job(of))) as worker:
            worker.wait_for_start()
            began = time.monotonic()
            worker.introduce()
            peak = worker.peak()
            return self._told(worker, *self._timed(worker, yardstick, began), peak)

    def _first(self) -> Worker:
        """Return the first model's worker, which has fused and is warm."""
        if self._yardstick is None:
            worker = self._recruit(self._job(self.first))
            self._stack.callback(worker.close)
            worker.wait_for_start()
            self._began = time.monotonic()
            worker.introduce()
            self._peak = worker.peak()
            worker.warm_up(self.request.warm_up)
            self._yardstick = worker
        return self._yardstick

    def _job(self, of: Candidate) -> Job:
        case = Case(of.model, of.rule, self.request.devices[0], self.size, 1, self.request.images, self.request.fit)
        entrant = Entrant("ours", dtype=self.request.dtypes[0])
        return Job(case, entrant, torch.get_num_threads(), self.request.clock, self.patience)

    def _timed(self, worker: Worker, yardstick: Worker, began: float) -> tuple[list[Timing], list[Timing]]:
        """Return the times of both, a round each, as many rounds as are asked for and patience allows, at least one."""
        first = time.monotonic() - began
        if worker is not yardstick and first * self.request.warm_up < self.patience * _WARM_UP:
            worker.warm_up(self.request.warm_up)
        ours: list[Timing] = []
        theirs: list[Timing] = []
        for number in range(self.request.rounds):
            start = time.monotonic()
            if worker is yardstick:
                ours.append(worker.run())
                theirs.append(ours[-1])
            else:
                # Whoever runs second may find the caches full of the other one's.
                for each in (worker, yardstick) if number % 2 else (yardstick, worker):
                    (ours if each is worker else theirs).append(each.run())
            now = time.monotonic()
            if now - began + (now - start) > self.patience:
                break
        return ours, theirs

    def _told(
        self, worker: Worker, ours: Sequence[Timing], theirs: Sequence[Timing], peak: int | None = None
    ) -> dict[str, Any]:
        seconds = [each.seconds for each in ours]
        described = worker.describe()
        found = {
            "seconds": spread(seconds),
            "rounds": seconds,
            "ratio": spread(ratios(seconds, [each.seconds for each in theirs])),
            "memory": self._peak if peak is None else peak,
            **described._asdict(),
        }
        if self.size == min(self.request.sizes, key=lambda size: size[0] * size[1]):
            found["operations"] = self._operations(worker)
        return found

    def _operations(self, worker: Worker) -> int | None:
        """Return the plain network's operations, ``None`` where counting them fails; the times are known by then."""
        with contextlib.suppress(FusekitError, RuntimeError):
            return worker.operations()
        return None

    # --- what is kept -------------------------------------------------------------------------------------------

    def _kept(self, of: Candidate) -> Path | None:
        folder = self.request.keep
        if folder is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(folder)
        return folder / f"{re.sub(r'[^0-9A-Za-z.-]+', '-', of.name)}-{size_text(self.size)}.json"

    def _key(self, of: Candidate) -> str:
        """Return a digest of all that a row follows from but the machine's load."""
        request, images = self.request, self.request.images
        facts = {
            "job": asdict(self._job(of).case) | {"images": [sha256_of(path) for path in images or ()]},
            "first": self.first.name,
            "choices": [request.dtypes[0], request.rounds, request.warm_up, request.clock, self.patience],
            "counted": self.size == min(request.sizes, key=lambda size: size[0] * size[1]),
            "threads": torch.get_num_threads(),
            "machine": [processor_name(), device_name(resolve_device(request.devices[0]))],
            "code": code_version(),
            "torch": torch.__version__,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _read(kept: Path | None, key: str) -> dict[str, Any] | None:
    """Return the row that a file keeps, ``None`` where there is none of this key."""
    if kept is None:
        return None
    try:
        stored = read_json(kept)
        return dict(stored["row"]) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
