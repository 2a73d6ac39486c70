"""Times on a GPU: medians of rounds in which everything is run in turn, so that a slow moment harms all alike."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping

import torch

#: Runs before the first that counts: they compile, record graphs and warm the caches up.
WARM_UP = 3


def medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float | None]:
    """Return the median of each run's seconds on the current CUDA device, ``None`` for one that raises."""
    able = {name: run for name, run in runs.items() if _warms_up(name, run)}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, run in able.items():
            times[name].append(_seconds(run))
    return {name: statistics.median(times[name]) if name in times else None for name in runs}


def _warms_up(name: str, run: Callable[[], object]) -> bool:
    try:
        for _ in range(WARM_UP):
            run()
        torch.cuda.synchronize()
    # Compilers and drivers raise errors of their own kinds.
    except Exception as error:
        print(f"fusekit: {name} cannot run: {error}", file=sys.stderr)
        return False
    return True


def _seconds(run: Callable[[], object]) -> float:
    """Return the seconds between two events on the GPU, before and after the launches of a run."""
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    before.record()
    run()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3
