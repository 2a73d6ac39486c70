"""What the tests of the bench share: the number of threads, and the golden values of published implementations."""

from __future__ import annotations

import os

import pytest
import torch
from helpers.paths import SHARED

from fusekit_bench.calibration.calibrate import Triples

# The images here are small: on a machine with a busy core, threads that wait for each other make the tests ten times as
# slow. Programs that the tests start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def triples() -> Triples:
    folder = SHARED / "golden" / "metrics"
    if not (folder / "values.json").is_file():
        pytest.skip("the golden metric values are not here; FUSEKIT_SHARED names their folder")
    return Triples(folder)
