"""What the machine's makers call its parts, for records and tables."""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@functools.cache
def processor_name() -> str:
    """Return the processor's name as its maker gives it, or the architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    lines = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return lines[0] if lines else platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Return the maker's name of a CUDA device, or of the processor."""
    if device.type != "cuda":
        return processor_name()
    import torch

    return torch.cuda.get_device_name(device)
