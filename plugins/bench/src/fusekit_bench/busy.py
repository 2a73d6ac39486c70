"""How busy a machine is while it is measured."""

from __future__ import annotations

import os


def load_average() -> list[float] | None:
    """Return how many processes wanted a core over the last 1, 5 and 15 minutes, ``None`` where nobody counts."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None
