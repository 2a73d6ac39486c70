"""What several tests share: the number of threads, and the golden values of published metric implementations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers.metrics import Triples
from helpers.paths import SHARED

# The images here are small: on a machine with a busy core, threads that wait for each other make the tests ten times as
# slow. Programs that the tests start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = SHARED / "golden" / "metrics"
    if not (folder / "values.json").is_file():
        pytest.skip("the golden metric values are not here; FUSEKIT_SHARED names their folder")
    return folder


@pytest.fixture(scope="session")
def triples(golden: Path) -> Triples:
    return Triples(golden)
