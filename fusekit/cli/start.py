"""What makes commands start sooner."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the garbage collector while the block runs, for imports and short work.

    Importing torch makes hundreds of thousands of objects that stay, and the collector looks through them again and
    again: a seventh of the time. What is not part of a cycle is freed all the same.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def wait_passively() -> None:
    """Let threads of OpenMP that wait for each other sleep instead of spin, unless the user or torch has decided.

    Where other programs keep the cores busy, a thread that spins takes the time of the one that it waits for, and short
    parallel work, such as that of loading, takes ten times as long. It must be called before torch is imported.
    """
    if "torch" not in sys.modules and "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
