"""Memory of the machine and of processes: how much is free, how much is held, how much may be taken."""

from __future__ import annotations

import os
from pathlib import Path

import torch

#: Bytes that fusing may take on a CPU where nothing was said, beside Python, torch and the images themselves.
CPU_MEMORY = 2 << 30
#: Share of a CUDA device's free memory that it may take.
CUDA_SHARE = 0.5


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
    """Return whether an error says that memory did not suffice."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
