"""Folder mode beside one pair at a time in loops of several kinds, in one run, and its memory over many pairs."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fusekit.batch.capacity import Shares
from fusekit.batch.run import find_cases, fuse_cases, prepare_output
from fusekit.cases.case import Case
from fusekit.images.files import write_image
from fusekit.images.image import from_pixels
from fusekit.machine.memory import resident_bytes
from fusekit.machine.threads import torch_threads
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine
from fusekit.models.load import load
from fusekit.options import FuseOptions, RunOptions
from fusekit.pipeline import fuse
from fusekit_bench.publish import Result, facts, load_average, on, table
from fusekit_bench.requests import Folder
from fusekit_bench.speed.cases import pair
from fusekit_bench.speed.command import run_fusekit
from fusekit_bench.speed.race import race, ratios, spread

_SIDES = ("a", "b")
#: Memory is compared with that up to this many pairs, or a tenth of fewer ones.
_SETTLED = 100
#: Processes take longer than fuses, so each round of theirs has this many times fewer pairs.
_FEWER_IN_A_SHELL = 4
#: Who races, and what the table calls it.
METHODS = {
    "folder": "folder mode",
    "loop": "a loop in Python that holds a loaded model",
    "core": "the same loop on one thread",
    "load": "a loop of `fusekit.fuse(..., model)`, which loads each time",
    "shell": "a loop of `fusekit fuse` in a shell",
}


def load_model(request: Folder) -> FusionModel:
    """Load the model that a request names."""
    return load(request.model, device=request.device, dtype=request.dtype)


def total(request: Folder) -> int:
    """Return how many pairs `measure` fuses."""
    return request.pairs + (request.rounds + 1) * sum(pairs_of(request, name) for name in METHODS)


def measure(request: Folder, command: str, progress: Callable[[], None] = lambda: None) -> Result:
    """Race folder mode with loops, and follow the memory of a process that fuses many pairs.

    Args:
        request: what to measure.
        command: by which, for the text.
        progress: called after each pair.

    Returns:
        machine and versions, ``race`` with each round of each of `METHODS`, pairs a second, cores that were busy, and
        ``ratio``, how many times as fast as each loop folder mode is; ``memory`` with the resident bytes after the
        first pairs and at the end, or ``None`` where it was left out or the system does not tell.
    """
    busy_before, model = load_average(), load_model(request)
    of_machine = machine(model)
    shares = Shares.of(torch.device(of_machine["device"]), request.workers)
    with tempfile.TemporaryDirectory(prefix="fusekit-bench-") as name:
        folder = Path(name)
        make_pairs(folder, max(request.pairs, request.race), request.size)
        raced = _race(request, model, folder, progress)
        del model
        memory = _memory(request, folder, progress) if request.pairs else None
    found = {
        **facts(),
        "machine": of_machine,
        "threads": torch.get_num_threads(),
        "load_average": busy_before,
        "request": {**asdict(request), "size": list(request.size)},
        "workers": shares.at_once,
        "threads_each": shares.threads(2 * request.size[0] * request.size[1]),
        "race": raced,
        "memory": memory,
    }
    rows = [{"method": name, **each} for name, those in raced["rounds"].items() for each in those]
    return Result(found, _markdown(found, command), rows)


def make_pairs(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write pairs into the folders ``a`` and ``b``: the embedded CT and MRI, shifted so that all differ."""
    images = [image.pixels for image in pair(None, size)]
    for side, pixels in zip(_SIDES, images, strict=True):
        (folder / side).mkdir()
        for number in range(count):
            shifted = np.roll(pixels, divmod(number, pixels.shape[1]), (0, 1))
            write_image(folder / side / f"{number:06}.png", from_pixels(shifted))


class _Round(NamedTuple):
    """One round of one method: how many pairs it fused, in how many seconds, and the processors' seconds in it."""

    pairs: int
    seconds: float
    busy: float


def _race(request: Folder, model: FusionModel, folder: Path, progress: Callable[[], None]) -> dict[str, Any]:
    """Fuse the same pairs by folder mode and in loops, round by round."""
    methods = _methods(request, model, folder, progress)
    for each in methods:
        each.warm_up(1)
    rounds = race(methods, request.rounds)
    rates = {name: [each.pairs / each.seconds for each in those] for name, those in rounds.items()}
    cores = torch.get_num_threads()
    return {
        "rounds": {name: [each._asdict() for each in those] for name, those in rounds.items()},
        "pairs_a_second": {name: spread(those) for name, those in rates.items()},
        "cores_busy": {name: spread([each.busy / each.seconds for each in those]) for name, those in rounds.items()},
        "ratio": {name: spread(ratios(rates["folder"], those)) for name, those in rates.items() if name != "folder"},
        # What folder mode would reach if its threads were never without work nor in each other's way.
        "ceiling": spread([cores * each for each in ratios(rates["core"], rates["loop"])]),
    }


class _Method:
    """A method to fuse many pairs, as a `fusekit_bench.speed.race.Racer`."""

    def __init__(self, name: str, cases: Sequence[Case], fuse_all: Callable[[Sequence[Case]], None]) -> None:
        self.name, self._cases, self._fuse_all = name, cases, fuse_all

    def warm_up(self, times: int) -> None:
        for _ in range(times):
            self.run()

    def run(self) -> _Round:
        busy, started = _processor_seconds(), time.perf_counter()
        with torch_threads(1 if self.name == "core" else torch.get_num_threads()):
            self._fuse_all(self._cases)
        return _Round(len(self._cases), time.perf_counter() - started, _processor_seconds() - busy)


def _methods(request: Folder, model: FusionModel, folder: Path, progress: Callable[[], None]) -> list[_Method]:
    """Return who races, in the order of `METHODS`."""
    output = folder / "raced"
    prepare_output(output, [])
    cases = find_cases([folder / side for side in _SIDES], output)[: request.race]
    chosen = {"model": request.model, "rule": request.rule, "device": request.device, "dtype": request.dtype}
    words = [word for key, value in chosen.items() if value is not None for word in (f"--{key}", value)]

    def by_folder(cases: Sequence[Case]) -> None:
        run = RunOptions(overwrite=True, workers=request.workers, report=lambda _: progress())
        done = fuse_cases(cases, model, FuseOptions(rule=request.rule), run)
        assert len(done.done) == len(cases), done.failed

    def in_a_loop(fuse_one: Callable[[list[str], Path], object]) -> Callable[[Sequence[Case]], None]:
        def fuse_all(cases: Sequence[Case]) -> None:
            for case in cases:
                fuse_one([str(path) for path in case.files], case.target)
                progress()

        return fuse_all

    loop = in_a_loop(lambda sources, output: fuse(sources, model, rule=request.rule).save(output, overwrite=True))
    loading = in_a_loop(lambda sources, output: fuse(sources, **chosen).save(output, overwrite=True))  # type: ignore[call-overload]
    in_a_shell = in_a_loop(
        lambda sources, output: run_fusekit("fuse", *sources, "-o", str(output), "--overwrite", *words)
    )
    by_name = {"folder": by_folder, "loop": loop, "core": loop, "load": loading, "shell": in_a_shell}
    return [_Method(name, cases[: pairs_of(request, name)], by_name[name]) for name in METHODS]


def pairs_of(request: Folder, name: str) -> int:
    """Return how many pairs one of `METHODS` fuses in a round."""
    return max(request.race // _FEWER_IN_A_SHELL, 1) if name == "shell" else request.race


def _processor_seconds() -> float:
    """Return the processors' time of this process, and of those that it started and that have ended."""
    return sum(os.times()[:4])


def _memory(request: Folder, folder: Path, progress: Callable[[], None]) -> dict[str, Any] | None:
    """Return the resident bytes of a process that fuses all pairs of a folder, or ``None`` where they are not told."""
    context = multiprocessing.get_context("spawn")
    ours, its_end = context.Pipe(duplex=False)
    process = context.Process(target=_fuse_watched, args=(its_end, request, folder), daemon=True)
    process.start()
    its_end.close()
    held: list[int] = []
    try:
        while True:
            held.append(ours.recv())
            progress()
    except EOFError:
        process.join()
    return growth(held) if process.exitcode == 0 and any(held) else None


def growth(held: Sequence[int]) -> dict[str, Any]:
    """Return how resident memory grew, from its bytes after each pair.

    The later half of the pairs up to the hundredth, when everything has been used once, is compared with the last
    tenth, by their medians and by what was held at the most: from one pair to the next memory goes up and down.
    """
    settled = min(_SETTLED, max(len(held) // 10, 1))
    first, last = held[settled // 2 : settled], held[-max(len(held) // 10, 1) :]
    return {
        "pairs": len(held),
        "settled": settled,
        "first": _middle_and_most(first),
        "last": _middle_and_most(last),
        "all_later": _middle_and_most(held[settled:] or last),
        "growth": statistics.median(last) / statistics.median(first) - 1,
        "peak_growth": max(last) / max(first) - 1,
    }


def _middle_and_most(held: Sequence[int]) -> dict[str, float]:
    return {"median": statistics.median(held), "most": max(held)}


def _fuse_watched(connection: Connection, request: Folder, folder: Path) -> None:
    """Be the process whose memory is measured: fuse two folders, and tell the resident bytes after each pair."""
    output = folder / "fused"
    prepare_output(output, [])
    cases = find_cases([folder / side for side in _SIDES], output)[: request.pairs]

    def tell(_: Case) -> None:
        connection.send(resident_bytes() or 0)

    run = RunOptions(workers=request.workers, report=tell)
    fuse_cases(cases, load_model(request), FuseOptions(rule=request.rule), run)


def _markdown(found: Mapping[str, Any], command: str) -> str:
    request, raced, memory = found["request"], found["race"], found["memory"]
    height, width = request["size"]
    lines = [
        f"`{command}`: {height}×{width} pairs, {request['model']}, {on(found)}. Folder mode fuses {found['workers']} "
        f"at once with {found['threads_each']} each. Medians of {request['rounds']} rounds of {request['race']} pairs "
        f"each ({raced['rounds']['shell'][0]['pairs']} in the shell), quartiles in brackets; a ratio is the median of "
        "the rounds' own. Files are read and written in all.",
        "",
    ]
    rows = []
    for name, text in METHODS.items():
        ratio = _cell(raced["ratio"][name]) if name in raced["ratio"] else ""
        rows.append([text, _cell(raced["pairs_a_second"][name]), f"{raced['cores_busy'][name]['median']:.2f}", ratio])
    lines += table(["", "pairs a second", "cores busy", "folder mode is times as fast"], rows, "lrrr")
    if found["machine"]["device"] == "cpu":
        lines += [
            "",
            f"{found['threads']} cores that each fuse as many pairs as one thread by itself would be "
            f"{_cell(raced['ceiling'])} times as fast as the loop that holds a loaded model.",
        ]
    if memory is not None:
        held = {f"pairs {memory['settled'] // 2 + 1} to {memory['settled']}": "first"}
        held |= {"all later pairs": "all_later", "the last tenth": "last"}
        rows = [[text, *(f"{each / 2**20:.0f}" for each in memory[key].values())] for text, key in held.items()]
        rows.append(["growth to the last tenth", f"{memory['growth']:+.1%}", f"{memory['peak_growth']:+.1%}"])
        headers = [f"resident memory over {memory['pairs']} pairs", "median (MiB)", "at the most (MiB)"]
        lines += ["", *table(headers, rows, "lrr")]
    return "\n".join(lines)


def _cell(values: Mapping[str, float]) -> str:
    return f"{values['median']:.2f} [{values['low']:.2f}, {values['high']:.2f}]"
