"""Give the command line spoiled images, spoiled weights and odd options, and count what comes of them.

    python scripts/fuzz.py --images 20000 --weights 2000 --options 500 --seed 0

Each job must end within ten seconds by a result or by one line and exit code 2, without a traceback or output of what
was refused, and within 1 GiB above the memory that fusing was allowed. Processes that serve many jobs do them; one that
hangs is killed. Job NUMBER of a kind is the same for every run of one seed: ``--only images:NUMBER`` does it alone, and
shows what the command said. The exit code is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
KINDS = ("images", "weights", "options")
SECONDS, MEMORY = 10.0, (1 << 30) + (256 << 20)
#: A process does no more jobs than that, so that what one leaves behind reaches few others.
JOBS_A_PROCESS = 1000


@dataclass
class Process:
    """One process of `helpers.fuzz_worker`, begun when it is first needed.

    Attributes:
        folder: it works in.
    """

    folder: Path
    _running: subprocess.Popen[str] | None = field(default=None, repr=False)
    _jobs: int = 0

    def do(self, kind: str, seed: int, number: int) -> dict[str, Any]:
        """Do a job; return what the worker says of it, or how it ended otherwise."""
        if self._running is None or self._jobs >= JOBS_A_PROCESS:
            self.end()
            self._begin()
        assert self._running is not None
        assert self._running.stdin is not None
        self._jobs += 1
        self._running.stdin.write(json.dumps({"kind": kind, "seed": seed, "number": number}) + "\n")
        self._running.stdin.flush()
        line = self._line(SECONDS)
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._running.poll()
        wrong = f"still runs after {SECONDS:.0f} s" if code is None else f"the process ended with {code}"
        self.end()
        said = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")[-2000:]
        return {
            "title": "",
            "arguments": [],
            "code": None,
            "wrong": wrong,
            "said": said,
            "seconds": SECONDS,
            "memory": 0,
        }

    def _begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        paths = os.pathsep.join([str(TESTS), str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._running = subprocess.Popen(
            [sys.executable, "-m", "helpers.fuzz_worker", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        self._jobs = 0

    def _line(self, seconds: float) -> str:
        """Return the worker's next line; its first answer may wait for imports."""
        assert self._running is not None
        assert self._running.stdout is not None
        wait = seconds + (60 if self._jobs == 1 else 0)
        ready, _, _ = select.select([self._running.stdout], [], [], wait)
        return self._running.stdout.readline() if ready else ""

    def end(self) -> None:
        """End the process, by force where it does not by itself."""
        if self._running is not None:
            self._running.kill()
            self._running.communicate()
            self._running = None


def jobs(counts: dict[str, int], first: int) -> Iterator[tuple[str, int]]:
    """Give the kind and number of each job."""
    for kind in KINDS:
        for number in range(first, first + counts[kind]):
            yield kind, number


def fault_of(answer: dict[str, Any]) -> str:
    """Return what was wrong with a job, or an empty text."""
    if answer["wrong"]:
        return str(answer["wrong"])
    if answer["memory"] > MEMORY:
        return f"took {answer['memory'] / 2**20:.0f} MiB"
    if answer["seconds"] > SECONDS:
        return f"took {answer['seconds']:.0f} s"
    return ""


def main() -> int:
    """Do the jobs, print the counts, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N", help=f"how many jobs with spoiled {kind}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first job of each kind")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="do one job and show what came of it")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the files of what went wrong there")
    chosen = parser.parse_args()
    counts = {kind: getattr(chosen, kind) for kind in KINDS}
    if chosen.only:
        kind, _, number = chosen.only.partition(":")
        todo = [(kind, int(number))]
    else:
        todo = list(jobs(counts, chosen.first))
    ended: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    faults: list[str] = []
    most_memory, most_seconds, started = 0, 0.0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fusekit-fuzz-") as name:
        process = Process(Path(name) / "work")
        for done, (kind, number) in enumerate(todo, start=1):
            answer = process.do(kind, chosen.seed, number)
            wrong = fault_of(answer)
            ended[kind][f"exit code {answer['code']}" if answer["code"] is not None else "no answer"] += 1
            most_memory, most_seconds = max(most_memory, answer["memory"]), max(most_seconds, answer["seconds"])
            if chosen.only:
                print(json.dumps(answer, indent=2))
            if wrong:
                faults.append(f"{kind}:{number} ({answer['title']}): {wrong}")
                print(faults[-1], flush=True)
                if chosen.keep is not None:
                    shutil.copytree(process.folder, chosen.keep / f"{kind}-{number}", dirs_exist_ok=True)
                process.end()
            if done % 1000 == 0:
                print(f"{done} of {len(todo)}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        process.end()
    for kind in KINDS:
        if ended[kind]:
            parts = [f"{count} {how}" for how, count in sorted(ended[kind].items())]
            print(f"{kind}: {sum(ended[kind].values())} jobs: {', '.join(parts)}")
    most = f"{most_memory / 2**20:.0f} MiB and {most_seconds:.1f} s a job"
    print(f"seed {chosen.seed}: {len(faults)} faults; at most {most}; {time.monotonic() - started:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
