"""How much memory fusing takes: of a process of its own on a CPU, of torch's allocator on a CUDA device.

``python -m fusekit_bench.speed_memory`` is that process: it reads a job as JSON from standard input, fuses once, and
prints what it took.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fusekit_bench.speed_entrants import Case, Entrant, Ready, prepare
from fusekit_bench.speed_oracle import Choices


def on_cuda(ready: Ready, device: torch.device) -> dict[str, int]:
    """Return ``before``, the bytes allocated on a CUDA device, and ``peak``, the most that were while fusing once."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    ready.fuse()
    torch.cuda.synchronize(device)
    return {"before": before, "peak": torch.cuda.max_memory_allocated(device)}


def of_process(case: Case, entrant: Entrant, threads: int) -> dict[str, int] | None:
    """Return the resident bytes of a process that fuses once: ``before`` it fuses, and ``peak`` at the most.

    ``None`` where the process did not come to its end, as where the system ends it for want of memory, or where the
    system does not tell.
    """
    job = {"case": asdict(case), "entrant": {**asdict(entrant), "choices": entrant.choices._asdict()}}
    done = subprocess.run(
        [sys.executable, "-m", "fusekit_bench.speed_memory"],
        input=json.dumps({**job, "threads": threads}),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    except (IndexError, ValueError):
        return None
    return found if isinstance(found, dict) and found["peak"] else None


def _resident(key: str) -> int:
    """Return ``VmRSS`` or ``VmHWM`` of this process in bytes, 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return _resident_peak() if key == "VmHWM" else 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def _resident_peak() -> int:
    """Return the peak where there is no ``/proc``."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def _hashable(value: Any) -> Any:
    """Return a list of JSON as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value


def _run(job: dict[str, Any]) -> dict[str, int]:
    torch.set_num_threads(job["threads"])
    given: dict[str, Any] = {key: _hashable(value) for key, value in job["case"].items()}
    case = Case(**given)
    entrant = Entrant(**{**job["entrant"], "choices": Choices(**job["entrant"]["choices"])})
    ready = prepare(case, entrant, case.pair())
    before = _resident("VmRSS")
    ready.fuse()
    return {"before": before, "peak": _resident("VmHWM")}


if __name__ == "__main__":
    print(json.dumps(_run(json.load(sys.stdin))))
