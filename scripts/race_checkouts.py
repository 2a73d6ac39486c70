"""Race two checkouts of fusekit side by side: ``python scripts/race_checkouts.py OLD_PYTHON NEW_PYTHON``.

Each Python has one of the checkouts installed. Both fuse the embedded CT and MRI by the rule ``sfnn`` in lasting
processes, in rounds, so that what else the machine does meets both alike; whole processes of ``fusekit fuse`` alternate
likewise. Printed are the medians, the median ratio new / old with its quartiles, and the median of the
peak memory of each round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

#: What is raced: a name, and the arguments of the worker's function.
CASES = {
    "256×256 float32": ("pair", 256, "float32"),
    "256×256 bfloat16": ("pair", 256, "bfloat16"),
    "1024×1024 float32": ("pair", 1024, "float32"),
    "folder, 24 pairs": ("folder", 256, "float32"),
}
SHELL = "whole process"
WORKER = """
import contextlib, json, re, resource, sys, tempfile, time, warnings
from pathlib import Path
import numpy as np
from PIL import Image
import torch, fusekit

warnings.simplefilter("ignore")
work, side, dtype = json.loads(sys.argv[1])
root = Path(fusekit.__file__).parent
data = next(path for path in (root / "images" / "samples" / "data", root / "samples" / "data") if path.is_dir())
pictures = [Image.open(data / f"{name}.png").convert("L").resize((side, side), 3) for name in ("ct", "mri")]
pair = [np.asarray(each) for each in pictures]
model = fusekit.load("ehdran", device="cpu", dtype=dtype)
# While sfnn was the default, folders were fused with an object of options.
rule = {} if model.spec.default_rule == "sfnn" else {"rule": "sfnn"}
with tempfile.TemporaryDirectory() as folder:
    folders = [Path(folder) / each for each in "ab"]
    for place, picture in zip(folders, pictures):
        place.mkdir()
        for number in range(24 if work == "folder" else 0):
            picture.rotate(number).save(place / f"{number}.png")
    def once():
        if work == "folder":
            fusekit.fuse_folders(folders, Path(folder) / "out", model, overwrite=True, **rule)
        else:
            fusekit.fuse(pair, model, rule="sfnn")
    def peak():
        with contextlib.suppress(OSError):
            return re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in sys.stdin:
        with contextlib.suppress(OSError):  # Linux forgets the peak of the rounds before.
            Path("/proc/self/clear_refs").write_text("5")
        before = time.perf_counter()
        once()
        print(time.perf_counter() - before, peak(), flush=True)
"""


class Worker:
    """A lasting process of one checkout."""

    def __init__(self, python: str, case: tuple[str, int, str]) -> None:
        command = [python, "-c", WORKER, json.dumps(case)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir()
        )

    def round(self) -> tuple[float, int]:
        """Fuse once and return the seconds, and the peak memory of it in KiB."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        seconds, peak = self._process.stdout.readline().split()
        return float(seconds), int(peak)

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def shell(python: str, sources: list[str], output: str) -> tuple[float, int]:
    """Run ``fusekit fuse`` as a process of its own and return its seconds and its peak memory in KiB."""
    before = time.perf_counter()
    process = subprocess.Popen(
        [python, "-m", "fusekit", "fuse", *sources, "--rule", "sfnn", "-o", output],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tempfile.gettempdir(),  # a checkout in the current folder would be imported instead
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{python} -m fusekit fuse failed")
    return time.perf_counter() - before, usage.ru_maxrss


def report(name: str, old: list[tuple[float, int]], new: list[tuple[float, int]]) -> None:
    """Print a row of the table."""
    ratios = [after[0] / before[0] for before, after in zip(old, new, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    medians = [statistics.median(each[0] for each in rows) * 1e3 for rows in (old, new)]
    peaks = [statistics.median(each[1] for each in rows) / 1024 for rows in (old, new)]
    print(
        f"| {name} | {medians[0]:.1f} | {medians[1]:.1f} | {middle:.3f} ({low:.3f}–{high:.3f}) "
        f"| {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[1] / peaks[0]:.3f} |",
        flush=True,
    )


def main() -> None:
    """Race all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", help="Python of the old checkout")
    parser.add_argument("new", help="Python of the new checkout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="+", default=[*CASES, SHELL], choices=[*CASES, SHELL])
    chosen = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {sys.version.split()[0]}")
    print("| | old, ms | new, ms | new / old | old, MiB | new, MiB | new / old |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, case in ((name, case) for name, case in CASES.items() if name in chosen.cases):
        workers = [Worker(chosen.old, case), Worker(chosen.new, case)]
        for worker in workers:
            worker.round()
            worker.round()
        rounds = [
            [worker.round() for worker in (workers if number % 2 else workers[::-1])] for number in range(chosen.rounds)
        ]
        ordered = [row if number % 2 else row[::-1] for number, row in enumerate(rounds)]
        report(name, [row[0] for row in ordered], [row[1] for row in ordered])
        for worker in workers:
            worker.end()
    if SHELL in chosen.cases:
        race_processes(chosen.old, chosen.new, chosen.rounds)


def race_processes(old: str, new: str, rounds: int) -> None:
    """Race ``fusekit fuse`` of two files and print the row."""
    with tempfile.TemporaryDirectory() as folder:
        images = subprocess.run(
            [
                new,
                "-c",
                "from fusekit.images import samples; print(*map(samples.path, ('ct', 'mri')), sep='\\n')",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        both: list[list[tuple[float, int]]] = [[], []]
        for number in range(rounds + 1):
            for place in (0, 1) if number % 2 else (1, 0):
                both[place].append(shell((old, new)[place], images, f"{folder}/{number}-{place}.png"))
        report(SHELL, both[0][1:], both[1][1:])


if __name__ == "__main__":
    main()
