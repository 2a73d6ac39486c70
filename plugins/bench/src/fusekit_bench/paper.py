"""The tables of the paper that the bench quotes; figures are the means and deviations that it prints."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any


@functools.cache
def paper_tables() -> dict[str, Any]:
    """Return the paper's tables.

    Returns:
        ``citation``; ``metrics``, of the columns of ``tables`` and ``ablation`` by name of the data; ``models``, our
        name of each of its methods; ``speed``: parameters in millions and seconds of a fusion.
    """
    tables: dict[str, Any] = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
    return tables
