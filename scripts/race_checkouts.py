"""Race two checkouts of fusekit side by side: ``python scripts/race_checkouts.py OLD_PYTHON NEW_PYTHON``.

Each Python has one of the checkouts installed. Both fuse the embedded CT and MRI in lasting processes, in rounds, so
that what else the machine does meets both alike; whole processes of ``fusekit fuse`` alternate likewise. Printed are
the medians, the median ratio new / old with its quartiles, and the peak memory of each.
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
from pathlib import Path

#: What is raced: a name, and the arguments of the worker's function.
CASES = {
    "256×256 float32": ("pair", 256, "float32"),
    "256×256 bfloat16": ("pair", 256, "bfloat16"),
    "1024×1024 float32": ("pair", 1024, "float32"),
    "folder, 24 pairs": ("folder", 256, "float32"),
}
WORKER = """
import json, resource, sys, tempfile, time, warnings
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
with tempfile.TemporaryDirectory() as folder:
    folders = [Path(folder) / each for each in "ab"]
    for place, picture in zip(folders, pictures):
        place.mkdir()
        for number in range(24 if work == "folder" else 0):
            picture.rotate(number).save(place / f"{number}.png")
    def once():
        if work == "folder":
            fusekit.fuse_folders(folders, Path(folder) / "out", model, overwrite=True)
        else:
            fusekit.fuse(pair, model)
    for line in sys.stdin:
        before = time.perf_counter()
        once()
        print(time.perf_counter() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""


class Worker:
    """A lasting process of one checkout."""

    def __init__(self, python: str, case: tuple[str, int, str]) -> None:
        command = [python, "-c", WORKER, json.dumps(case)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir()
        )

    def round(self) -> tuple[float, int]:
        """Fuse once and return the seconds, and the peak memory so far in KiB."""
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
        [python, "-m", "fusekit", "fuse", *sources, "-o", output],
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
    peaks = [max(each[1] for each in rows) / 1024 for rows in (old, new)]
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
    chosen = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {sys.version.split()[0]}")
    print("| | old, ms | new, ms | new / old | old, MiB | new, MiB | new / old |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, case in CASES.items():
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
    with tempfile.TemporaryDirectory() as folder:
        images = subprocess.run(
            [
                chosen.new,
                "-c",
                "from fusekit.images import samples; print(*map(samples.path, ('ct', 'mri')), sep='\\n')",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        output = str(Path(folder) / "out.png")
        both: list[list[tuple[float, int]]] = [[], []]
        for number in range(chosen.rounds + 1):
            for place in (0, 1) if number % 2 else (1, 0):
                both[place].append(shell((chosen.old, chosen.new)[place], images, output))
        report("whole process", both[0][1:], both[1][1:])


if __name__ == "__main__":
    main()
