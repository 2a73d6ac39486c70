"""Memory of the machine and of processes: how much is free, and how much is held."""

from __future__ import annotations

import os
from pathlib import Path


def available_bytes() -> int:
    """Return how much memory can be had without swapping, by `/proc/meminfo`, or half of what the machine has."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30


def resident_bytes(process: int | None = None) -> int | None:
    """Return the resident memory of a process, of this one by default; ``None`` where `/proc` does not tell."""
    try:
        text = Path(f"/proc/{process or 'self'}/statm").read_text(encoding="ascii")
    except OSError:
        return None
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
