"""The devices of the machine: their names, their dtypes, and what their makers call them."""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
import torch

from fusekit.errors import DeviceError


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


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str) -> torch.device:
    """Return the device of a name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: not such a name, or this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise DeviceError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N") from None
    if chosen.type not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"there is no device {device!r}: this machine shows {torch.cuda.device_count()} CUDA devices to torch "
            f"{torch.__version__}; choose auto or cpu"
        )
    return chosen


def resolve_dtype(dtype: str) -> torch.dtype:
    """Return the torch dtype called ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        DeviceError: there is no such dtype.
    """
    if dtype not in _DTYPES:
        raise DeviceError(f"unknown dtype {dtype!r}; choose auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]
