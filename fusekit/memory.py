"""Memory of the machine, and of this process: how much is free, how much is held, and how to reuse it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_MIB = 1 << 20


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


@contextmanager
def reused_memory() -> Iterator[None]:
    """Let the C library keep what is freed for the next set, while the block runs; give it back at the end.

    By default glibc asks the system for each large block anew, whose pages are then all faulted in again: on a CPU an
    eighth of the time of a set. Without glibc nothing is changed.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, 256 * _MIB)
    library.mallopt(_TRIM_THRESHOLD, 1024 * _MIB)
    # Large blocks are reused across threads only where threads share one arena.
    library.mallopt(_ARENA_MAX, 1)
    try:
        yield
    finally:
        # Where glibc's own adjustment ends; it goes no further once a threshold was set.
        library.mallopt(_MMAP_THRESHOLD, 32 * _MIB)
        library.mallopt(_TRIM_THRESHOLD, 64 * _MIB)
        library.mallopt(_ARENA_MAX, 8 * (os.cpu_count() or 1))
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
