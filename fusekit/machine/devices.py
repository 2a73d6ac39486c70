"""The devices of the machine: their names, their dtypes, and what their makers call them."""

from __future__ import annotations

import contextlib
import functools
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    return torch.cuda.get_device_name(device)


@functools.cache
def driver_version() -> str:
    """Return the version of NVIDIA's driver, or that of the CUDA which it serves where it does not say its own."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        text = ""
    match = re.search(r"\b\d{3}\.\d+(\.\d+)*\b", text)
    if match is not None:
        return match[0]
    # Torch names it privately.
    served = getattr(torch._C, "_cuda_getDriverVersion", None)
    return "unknown" if served is None else f"CUDA {served()}"


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Within the context, keep float32 products and convolutions of torch from being rounded to tf32 or bfloat16.

    What the program around has set comes back afterwards.
    """
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        products, convolutions = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
        try:
            torch.set_float32_matmul_precision("highest")
            backends.cudnn.allow_tf32 = False
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            backends.cudnn.allow_tf32 = convolutions
        return
    # Where a program has used these switches, torch refuses to read the older ones.
    owners = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
    before = [owner.fp32_precision for owner in owners]
    try:
        for owner in owners:
            owner.fp32_precision = "ieee"
        yield
    finally:
        for owner, precision in zip(owners, before, strict=True):
            owner.fp32_precision = precision


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
