"""How many threads tests compute with."""

from __future__ import annotations

import os

import torch


def use_one_thread() -> None:
    """Let torch here, and in the programs that tests start, use one thread, unless OMP_NUM_THREADS says otherwise.

    The images of tests are small: on a machine with a busy core, threads that wait for each other make the tests ten
    times as slow.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
