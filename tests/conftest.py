"""What several tests share: the number of threads, golden values of published metrics, and a folder of series."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cli import write_texture
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


@pytest.fixture
def series_folder(tmp_path: Path) -> Path:
    """Return a folder of three slices of each of the series 2, 10 and 41."""
    for series in (2, 10, 41):
        for number in range(3):
            write_texture(tmp_path / "images" / f"{series}{number:03}.png", series + number)
    return tmp_path / "images"
