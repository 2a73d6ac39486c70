"""The C library's memory allocator, set so that what computations free is there for the next one."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT, _LARGE = 256 << 20, 64 << 20
_ENVIRONMENT = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_ARENA_MAX",
    "MALLOC_ARENA_TEST",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MiB of freed memory, for all threads together; return whether it does.

    By default glibc returns large blocks at once, and the system hands them out again page by page, zeroed. A network
    frees and allocates maps of some MiB all the time: on a CPU a third of its time can go there. Blocks of 64 MiB and
    more are still returned.

    It also gives threads arenas of their own, which no other thread can use and which come in pieces of at most 64 MiB.
    Where several threads compute, each arena's holes add up, and memory grows for hundreds of images. Threads that
    begin later share the arenas that there are; of the time of a fusion, little is spent waiting for them.

    Nothing is changed where the user has set the allocator by an environment variable or
    loaded another one, nor with other C libraries.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _ENVIRONMENT):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_MMAP_THRESHOLD: _LARGE, _TRIM_THRESHOLD: _KEPT, _ARENA_MAX: 1}
    return all(mallopt(parameter, value) for parameter, value in settings.items())
