"""The C library's memory allocator, set so that what computations free is there for the next one."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGE = 256 << 20, 64 << 20
_OF_ITS_OWN = 8 << 20
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
    """Let glibc keep up to 256 MiB of freed memory instead of returning it to the system; return whether it does.

    By default glibc returns large blocks at once, and the system hands them out again page by page, zeroed. A network
    frees and allocates maps of some MiB all the time: on a CPU a third of its time can go there. Blocks of 64 MiB and
    more are still returned. Threads keep their own arenas; with one for all, the tiles of a pair take longer.

    Nothing is changed where the user has set the allocator by an environment variable or loaded another one, nor with
    other C libraries.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _ENVIRONMENT):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_MMAP_THRESHOLD: _LARGE, _TRIM_THRESHOLD: _KEPT}
    return all(mallopt(parameter, value) for parameter, value in settings.items())


def release_freed_memory() -> None:
    """Return to the system the pages that `keep_freed_memory` keeps and that no block lies on.

    The free pieces between blocks become smaller and more, and each of them stays resident once it was used. Where
    work goes on for hours, this once in a while keeps the memory of a process from growing.
    """
    # Only where it was called before: to ask it is to set the allocator.
    kept = keep_freed_memory.cache_info().currsize > 0 and keep_freed_memory()
    if kept:
        ctypes.CDLL(None).malloc_trim(0)


def empty_maps(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return maps (B, C, H, W) with channels last that are not filled, as `torch.empty` does.

    On a CPU maps of 8 MiB and more, such as the features of a whole image, lie outside the allocator's memory. Between
    the many tiles that are computed meanwhile it would need a hole of that size; where it has none it grows, and what
    it has grown by stays. Blocks up to 256 MiB together are kept for the next maps.
    """
    import torch

    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _OF_ITS_OWN:
        return torch.empty(*shape, dtype=dtype, device=device, memory_format=torch.channels_last)
    block = _blocks.take(size)
    view = memoryview(block)
    weakref.finalize(view, _blocks.give_back, block).atexit = False
    batch, channels, *sides = shape
    # The tensor holds the view, and the view's end gives the block back.
    values = torch.frombuffer(view, dtype=dtype, count=math.prod(shape))
    return values.view(batch, *sides, channels).movedim(-1, 1)


class _Blocks:
    """Blocks of memory, and those of them that no one uses now, the longest unused first."""

    def __init__(self) -> None:
        self._unused: list[mmap.mmap] = []
        # Taking a block may collect garbage, which may give another one back.
        self._lock = threading.RLock()

    def take(self, size: int) -> mmap.mmap:
        """Return a block of at least ``size`` bytes and less than twice as many, an unused one if there is any."""
        with self._lock:
            fitting = [block for block in self._unused if size <= len(block) < 2 * size]
            if fitting:
                block = min(reversed(fitting), key=len)
                self._unused.remove(block)
                return block
        if sys.platform == "win32":
            return mmap.mmap(-1, size)
        # After a fork, what one process writes is not the other's.
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def give_back(self, block: mmap.mmap) -> None:
        """Keep a block that is used no more, and return to the system what has been unused longest and is too much."""
        if len(block) > _KEPT:
            return
        with self._lock:
            self._unused.append(block)
            while sum(map(len, self._unused)) > _KEPT:
                del self._unused[0]


_blocks = _Blocks()
