"""What the tests of the bench share: the number of threads, and the golden values of published implementations."""

from __future__ import annotations

import pytest
from helpers.paths import SHARED
from helpers.threads import use_one_thread

from fusekit_bench.calibration.calibrate import Triples

use_one_thread()


@pytest.fixture(scope="session")
def triples() -> Triples:
    folder = SHARED / "golden" / "metrics"
    if not (folder / "values.json").is_file():
        pytest.skip("the golden metric values are not here; FUSEKIT_SHARED names their folder")
    return Triples(folder)
