"""What the tests of ``fusekit bench speed`` share: a clock that is moved by hand, and other people's fusers."""

from __future__ import annotations

from collections.abc import Callable

#: Attributes for ``--against``, good and bad ones.
ADAPTER = """
import numpy as np

def fuse(pair):
    first, second = pair
    assert first.dtype == second.dtype == np.float32 and first.shape == second.shape and first.ndim == 2
    assert 0 <= first.min() and first.max() <= 1
    return np.maximum(first, second)

def fails(pair):
    raise ValueError("no such thing")

def stacks(pair):
    return np.stack(pair)

def breaks(pair):
    return pair[0] / 0 * 0

def thinks(pair):
    import time
    time.sleep(600)

CALLS = []

def tires(pair):
    import os, torch
    CALLS.append(pair)
    if len(CALLS) > 3:
        os._exit(3)
    if len(CALLS) > 1:
        raise RuntimeError(f"no more of {torch.get_num_threads()} threads")
    return pair[0]

def faults(pair):
    # Which process this is, and how many pages it is given for blocks that it had before.
    import os, pathlib, resource, torch
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(10 << 20)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    pathlib.Path("pages.txt").write_text(f"{os.getpid()} {pages}")
    return np.maximum(*pair)

NUMBER = 3
"""


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, *seconds: float) -> Callable[[], None]:
        """Return work that takes these seconds, one after the other, and then as long as the last."""
        queue = list(seconds)

        def work() -> None:
            self.now += queue.pop(0) if len(queue) > 1 else queue[0]

        return work
