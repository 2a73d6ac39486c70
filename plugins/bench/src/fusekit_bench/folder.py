"""Folder mode beside one pair at a time in loops of several kinds, in one run, and its memory over many pairs.

``python -m fusekit_bench.folder`` is the process whose memory is measured: it reads a job as JSON from standard input,
fuses two folders, and prints its resident memory after each pair that counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import fusekit
from fusekit.batch.capacity import Shares
from fusekit.batch.run import find_cases, fuse_cases, prepare_output
from fusekit.cases.case import Case
from fusekit.errors import OptionError
from fusekit.images.files import write_image
from fusekit.images.image import from_pixels
from fusekit.machine.memory import resident_bytes
from fusekit.machine.threads import torch_threads
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine
from fusekit.models.load import load
from fusekit.options import FuseOptions, RunOptions
from fusekit.pipeline import fuse
from fusekit.version import code_version
from fusekit_bench.busy import load_average
from fusekit_bench.shell import run_fusekit
from fusekit_bench.speed_images import pair
from fusekit_bench.speed_race import ratios, spread

_SIDES = ("a", "b")
#: Memory is compared with that up to this many pairs, or a tenth of fewer ones.
_SETTLED = 100
#: Processes take longer than fuses, so each turn of theirs has this many times fewer pairs.
_FEWER_IN_A_SHELL = 4
#: Who races, and what the table calls it.
WAYS = {
    "folder": "folder mode",
    "loop": "a loop in Python that holds a loaded model",
    "core": "the same loop on one thread",
    "load": "a loop of `fusekit.fuse(..., model)`, which loads each time",
    "shell": "a loop of `fusekit fuse` in a shell",
}


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        pairs: fused in the process whose memory is measured; 0 leaves that out.
        race: pairs that each turn of the race fuses.
        rounds: turns of each way.
        size: height and width of the pairs.
        model, rule, device, dtype: as in `fusekit.fuse`.
        workers: as in `fusekit.options.RunOptions`.
    """

    pairs: int = 1000
    race: int = 24
    rounds: int = 5
    size: tuple[int, int] = (256, 256)
    model: str = "ehdran"
    rule: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.race < 1 or self.rounds < 1 or self.pairs < 0:
            raise OptionError("--race and --rounds are 1 or more, --pairs 0 or more")

    def load(self) -> FusionModel:
        """Load the model."""
        return load(self.model, device=self.device, dtype=self.dtype)

    def total(self) -> int:
        """Return how many pairs `measure` fuses."""
        return self.pairs + (self.rounds + 1) * sum(pairs_of(self, name) for name in WAYS)


def measure(request: Request, progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Race folder mode with loops, and follow the memory of a process that fuses many pairs.

    Args:
        request: what to measure.
        progress: called after each pair.

    Returns:
        JSON-able: machine and versions, ``race`` with each turn of each of `WAYS`, pairs a second, cores that were
        busy, and ``ratio``, how many times as fast as each loop folder mode is; ``memory`` with the resident bytes
        after the first pairs and at the end, or ``None`` where it was left out or the system does not tell.
    """
    busy_before = load_average()
    model = request.load()
    facts = machine(model)
    shares = Shares.of(torch.device(facts["device"]), request.workers)
    with tempfile.TemporaryDirectory(prefix="fusekit-bench-") as name:
        folder = Path(name)
        make_pairs(folder, max(request.pairs, request.race), request.size)
        race = _race(request, model, folder, progress)
        del model
        memory = _memory(request, folder, progress) if request.pairs else None
    return {
        "version": fusekit.__version__,
        "code": code_version(),
        "torch": str(torch.__version__),
        "machine": facts,
        "threads": torch.get_num_threads(),
        "load_average": busy_before,
        "request": {**asdict(request), "size": list(request.size)},
        "workers": shares.at_once,
        "threads_each": shares.threads(2 * request.size[0] * request.size[1]),
        "race": race,
        "memory": memory,
    }


def make_pairs(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write pairs into the folders ``a`` and ``b``: the embedded CT and MRI, shifted so that all differ."""
    images = [image.pixels for image in pair(None, size)]
    for side, pixels in zip(_SIDES, images, strict=True):
        (folder / side).mkdir()
        for number in range(count):
            shifted = np.roll(pixels, divmod(number, pixels.shape[1]), (0, 1))
            write_image(folder / side / f"{number:06}.png", from_pixels(shifted))


class _Turn(NamedTuple):
    """One turn of one way: how many pairs it fused, in how many seconds, and the processors' seconds in it."""

    pairs: int
    seconds: float
    busy: float

    @property
    def rate(self) -> float:
        """Pairs a second."""
        return self.pairs / self.seconds


def _race(request: Request, model: FusionModel, folder: Path, progress: Callable[[], None]) -> dict[str, Any]:
    """Fuse the same pairs by folder mode and in loops, in turns."""
    ways = _Ways(request, model, folder, progress)
    turns: dict[str, list[_Turn]] = {name: [] for name in WAYS}
    for name in WAYS:
        ways.turn(name)
    for number in range(request.rounds):
        for name in list(WAYS)[:: 1 if number % 2 == 0 else -1]:
            turns[name].append(ways.turn(name))
    rates = {name: [turn.rate for turn in those] for name, those in turns.items()}
    cores = torch.get_num_threads()
    return {
        "turns": {name: [turn._asdict() for turn in those] for name, those in turns.items()},
        "pairs_a_second": {name: spread(those) for name, those in rates.items()},
        "cores_busy": {name: spread([turn.busy / turn.seconds for turn in those]) for name, those in turns.items()},
        "ratio": {name: spread(ratios(rates["folder"], those)) for name, those in rates.items() if name != "folder"},
        # What folder mode would reach if its threads were never without work nor in each other's way.
        "ceiling": spread([cores * core / loop for core, loop in zip(rates["core"], rates["loop"], strict=True)]),
    }


class _Ways:
    """The ways to fuse many pairs that race."""

    def __init__(self, request: Request, model: FusionModel, folder: Path, progress: Callable[[], None]) -> None:
        self._request, self._model, self._progress = request, model, progress
        self._output = folder / "raced"
        prepare_output(self._output, [])
        self._cases = find_cases([folder / side for side in _SIDES], self._output)[: request.race]

    def turn(self, name: str) -> _Turn:
        """Fuse the pairs of a turn in one way."""
        cases = self._cases[: pairs_of(self._request, name)]
        busy, started = _processor_seconds(), time.perf_counter()
        if name == "folder":
            self._folder(cases)
        else:
            with torch_threads(1 if name == "core" else torch.get_num_threads()):
                for case in cases:
                    self._one(name, [str(path) for path in case.files], case.target)
                    self._progress()
        return _Turn(len(cases), time.perf_counter() - started, _processor_seconds() - busy)

    def _folder(self, cases: Sequence[Case]) -> None:
        run = RunOptions(overwrite=True, workers=self._request.workers, report=lambda _: self._progress())
        done = fuse_cases(cases, self._model, FuseOptions(rule=self._request.rule), run)
        assert len(done.done) == len(cases), done.failed

    def _one(self, name: str, sources: list[str], output: Path) -> None:
        request = self._request
        if name == "shell":
            choices = {"model": request.model, "rule": request.rule, "device": request.device, "dtype": request.dtype}
            words = [word for key, value in choices.items() if value is not None for word in (f"--{key}", value)]
            run_fusekit("fuse", *sources, "-o", str(output), *words)
        elif name == "load":
            fuse(sources, request.model, rule=request.rule, device=request.device, dtype=request.dtype).save(output)
        else:
            fuse(sources, self._model, rule=request.rule).save(output)


def pairs_of(request: Request, name: str) -> int:
    """Return how many pairs one of `WAYS` fuses in a turn."""
    return max(request.race // _FEWER_IN_A_SHELL, 1) if name == "shell" else request.race


def _processor_seconds() -> float:
    """Return the processors' time of this process, and of those that it started and that have ended."""
    return sum(os.times()[:4])


def _memory(request: Request, folder: Path, progress: Callable[[], None]) -> dict[str, Any] | None:
    """Return the resident bytes of a process that fuses all pairs of a folder, or ``None`` where they are not told."""
    job = {"folder": str(folder), "request": {**asdict(request), "size": list(request.size)}}
    with subprocess.Popen(
        [sys.executable, "-m", "fusekit_bench.folder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        held: list[int] = []
        for line in process.stdout:
            held.append(int(line))
            progress()
    return growth(held) if process.returncode == 0 and any(held) else None


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


def _fuse_watched(job: Mapping[str, Any]) -> None:
    """Be the process whose memory is measured."""
    given = job["request"]
    request = Request(**{**given, "size": tuple(given["size"])})
    folder = Path(job["folder"])
    output = folder / "fused"
    prepare_output(output, [])
    cases = find_cases([folder / side for side in _SIDES], output)[: request.pairs]

    def tell(_: Case) -> None:
        print(resident_bytes() or 0, flush=True)

    run = RunOptions(workers=request.workers, report=tell)
    fuse_cases(cases, request.load(), FuseOptions(rule=request.rule), run)


def markdown(found: Mapping[str, Any], command: str) -> str:
    """Return what `measure` found as Markdown, with what it was measured on."""
    request, race, memory = found["request"], found["race"], found["memory"]
    height, width = request["size"]
    facts = found["machine"]
    busy = f", load average {found['load_average'][0]:.1f} at the start" if found["load_average"] else ""
    lines = [
        f"`{command}`: {height}×{width} pairs, {request['model']}, {facts['dtype']} on {facts['device']} "
        f"({facts['device_name']}), torch {found['torch']}, {found['threads']} threads{busy}; code `{found['code']}`. "
        f"Folder mode fuses {found['workers']} at once with {found['threads_each']} each. Medians of "
        f"{request['rounds']} turns of {request['race']} pairs each ({race['turns']['shell'][0]['pairs']} in the "
        "shell), quartiles in brackets; a ratio is the median of the turns' own. Files are read and written in all.",
        "",
        "| | pairs a second | cores busy | folder mode is times as fast |",
        "|---|--:|--:|--:|",
        *(
            f"| {text} | {_cell(race['pairs_a_second'][name])} | {race['cores_busy'][name]['median']:.2f} | "
            f"{_cell(race['ratio'][name]) if name in race['ratio'] else ''} |"
            for name, text in WAYS.items()
        ),
    ]
    if facts["device"] == "cpu":
        lines += [
            "",
            f"{found['threads']} cores that each fuse as many pairs as one thread by itself would be "
            f"{_cell(race['ceiling'])} times as fast as the loop that holds a loaded model.",
        ]
    if memory is not None:
        lines += [
            "",
            f"| resident memory over {memory['pairs']} pairs | median (MiB) | at the most (MiB) |",
            "|---|--:|--:|",
            f"| pairs {memory['settled'] // 2 + 1} to {memory['settled']} | {_both(memory['first'])} |",
            f"| all later pairs | {_both(memory['all_later'])} |",
            f"| the last tenth | {_both(memory['last'])} |",
            f"| growth to the last tenth | {memory['growth']:+.1%} | {memory['peak_growth']:+.1%} |",
        ]
    return "\n".join(lines)


def _cell(values: Mapping[str, float]) -> str:
    return f"{values['median']:.2f} [{values['low']:.2f}, {values['high']:.2f}]"


def _both(held: Mapping[str, float]) -> str:
    return f"{held['median'] / 2**20:.0f} | {held['most'] / 2**20:.0f}"


if __name__ == "__main__":
    _fuse_watched(json.load(sys.stdin))
