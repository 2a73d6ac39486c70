"""Memory of the machine and of processes: how much is free, how much is held, how much may be taken."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import torch

#: Bytes that fusing may take on a CPU where nothing was said, beside Python, torch and the images themselves.
CPU_MEMORY = 2 << 30
#: Share of a CUDA device's free memory that it may take.
CUDA_SHARE = 0.5

#: What torch's allocators, CUDA and its libraries say where memory ran out. Many other errors speak of memory too:
#: illegal accesses to it, memory formats, and kernels that want more shared memory than a GPU has.
_OUT_OF_MEMORY = re.compile(
    r"\bout of memory\b(?! bounds)"
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|not enough memory: you tried to allocate"
    r"|\bstd::bad_alloc\b"
    r"|\bCU[A-Z]+_(STATUS_)?(INTERNAL_ERROR_(HOST|DEVICE)_)?ALLOC(ATION)?_FAILED\b",
    re.IGNORECASE,
)


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


def budget_of(device: torch.device, memory: int | None) -> int:
    """Return the bytes that fusing may take on ``device``: as given, or by default."""
    if memory is not None:
        return memory
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * CUDA_SHARE)
    return CPU_MEMORY


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of the machine or of a device, and nothing else.

    ``MemoryError`` and torch's own type say so by themselves. Where torch and the libraries below it raise a plain
    ``RuntimeError``, its message decides; an illegal memory access or a memory format is no lack of memory.
    """
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
