"""What several tests share: the number of threads, and the golden values of published metric implementations."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.metrics import Triples
from helpers.paths import SHARED
from helpers.threads import use_one_thread

use_one_thread()


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = SHARED / "golden" / "metrics"
    if not (folder / "values.json").is_file():
        pytest.skip("the golden metric values are not here; FUSEKIT_SHARED names their folder")
    return folder


@pytest.fixture(scope="session")
def triples(golden: Path) -> Triples:
    return Triples(golden)
