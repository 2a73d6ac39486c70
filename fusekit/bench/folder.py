"""Folder mode beside one pair at a time in a loop, in one run, and its memory over many pairs.

``python -m fusekit.bench.folder`` is the process whose memory is measured: it reads a job as JSON from standard input,
fuses two folders, and prints its resident memory after each pair that counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fusekit
from fusekit.batch import find_jobs, fuse_jobs, prepare_output
from fusekit.bench.provenance import code_version, load_average
from fusekit.bench.speed_images import pair
from fusekit.bench.speed_race import ratios, spread
from fusekit.crew import Job, Shares
from fusekit.errors import OptionError
from fusekit.io.writing import write_image
from fusekit.loading import load
from fusekit.memory import resident_bytes
from fusekit.model import FusionModel
from fusekit.pipeline import Options, fuse_loaded
from fusekit.record import machine

_SIDES = ("a", "b")
#: Memory is compared with that after this many pairs, or a tenth of fewer ones.
_SETTLED = 100


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        pairs: fused in the process whose memory is measured; 0 leaves that out.
        race: pairs that each turn of the race fuses.
        rounds: turns of each way.
        size: height and width of the pairs.
        model, rule, device, dtype: as in `fusekit.load`.
        workers: as in `fusekit.batch.fuse_jobs`.
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
        return load(self.model, rule=self.rule, device=self.device, dtype=self.dtype)


def measure(request: Request, progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Race folder mode with a loop, and follow the memory of a process that fuses many pairs.

    Args:
        request: what to measure.
        progress: called after each pair.

    Returns:
        JSON-able: machine and versions, ``race`` with each turn's pairs a second and their ratios, ``memory`` with the
        resident bytes after the first pairs and at the end, or ``None`` where it was left out or the system does not
        tell.
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
            write_image(folder / side / f"{number:06}.png", shifted)


def _race(request: Request, model: FusionModel, folder: Path, progress: Callable[[], None]) -> dict[str, Any]:
    """Fuse the same pairs in a loop and by folder mode, in turns."""
    options, looped, output = Options(), folder / "looped", folder / "raced"
    looped.mkdir()
    prepare_output(output, [])
    jobs = find_jobs([folder / side for side in _SIDES], output)[: request.race]

    def loop() -> None:
        for job in jobs:
            fuse_loaded([path for path in job.sources if path], model, options=options).save(looped / job.output.name)
            progress()

    def crew() -> None:
        summary = fuse_jobs(jobs, model, options, overwrite=True, workers=request.workers, report=lambda _: progress())
        assert len(summary.done) == len(jobs), summary.failed

    seconds: dict[str, list[float]] = {"loop": [], "folder": []}
    loop()
    crew()
    for turn in range(request.rounds):
        order = (("loop", loop), ("folder", crew))
        for name, work in order if turn % 2 == 0 else order[::-1]:
            seconds[name].append(_timed(work))
    return {
        "pairs": len(jobs),
        "seconds": seconds,
        "pairs_a_second": {name: spread([len(jobs) / each for each in taken]) for name, taken in seconds.items()},
        "ratio": spread(ratios(seconds["loop"], seconds["folder"])),
    }


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _memory(request: Request, folder: Path, progress: Callable[[], None]) -> dict[str, Any] | None:
    """Return the resident bytes of a process that fuses all pairs of a folder, or ``None`` where they are not told."""
    job = {"folder": str(folder), "request": {**asdict(request), "size": list(request.size)}}
    with subprocess.Popen(
        [sys.executable, "-m", "fusekit.bench.folder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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

    What it holds from one pair to the next goes up and down, so the highest of the pairs up to the hundredth is
    compared with the highest of the last tenth and of all that follow.
    """
    settled = min(_SETTLED, max(len(held) // 10, 1))
    first, later = max(held[:settled]), held[settled:] or held[-1:]
    last = max(held[-max(len(held) // 10, 1) :])
    return {
        "pairs": len(held),
        "settled": settled,
        "first": first,
        "last": last,
        "peak": max(later),
        "growth": last / first - 1,
        "peak_growth": max(later) / first - 1,
    }


def _fuse_watched(job: Mapping[str, Any]) -> None:
    """Be the process whose memory is measured."""
    given = job["request"]
    request = Request(**{**given, "size": tuple(given["size"])})
    folder = Path(job["folder"])
    output = folder / "fused"
    prepare_output(output, [])
    jobs = find_jobs([folder / side for side in _SIDES], output)[: request.pairs]

    def tell(_: Job) -> None:
        print(resident_bytes() or 0, flush=True)

    fuse_jobs(jobs, request.load(), Options(), workers=request.workers, report=tell)


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
        f"{len(race['seconds']['loop'])} turns of {race['pairs']} pairs each, quartiles in brackets; the ratio is the "
        "median of the turns' own.",
        "",
        "| | pairs a second | times the loop |",
        "|---|--:|--:|",
        f"| one at a time, in a loop | {_cell(race['pairs_a_second']['loop'])} | 1 |",
        f"| folder mode | {_cell(race['pairs_a_second']['folder'])} | {_cell(race['ratio'])} |",
    ]
    if memory is not None:
        lines += [
            "",
            f"| resident memory over {memory['pairs']} pairs | MiB | growth |",
            "|---|--:|--:|",
            f"| up to pair {memory['settled']} | {_mib(memory['first'])} | |",
            f"| of the last tenth | {_mib(memory['last'])} | {memory['growth']:+.1%} |",
            f"| at the most since | {_mib(memory['peak'])} | {memory['peak_growth']:+.1%} |",
        ]
    return "\n".join(lines)


def _cell(values: Mapping[str, float]) -> str:
    return f"{values['median']:.2f} [{values['low']:.2f}, {values['high']:.2f}]"


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f}"


if __name__ == "__main__":
    _fuse_watched(json.load(sys.stdin))
