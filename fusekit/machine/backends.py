"""Which backend computes a model: ``torch`` or ``triton``, decided here and nowhere else.

A backend serves a model on a device in a dtype, or it says why not. One that was asked for and cannot serve is an
error with that reason; ``auto`` takes what serves and has proved itself there (`fusekit.machine.probation`), torch at
worst, which it says once. The record names what ran and why.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch

from fusekit.errors import DeviceError, FusekitWarning, OptionError
from fusekit.machine.probation import Verdict

BACKENDS = ("auto", "torch", "triton")
#: The oldest GPUs with bfloat16 matrix products: Ampere.
LEAST_CAPABILITY = (8, 0)
LEAST_TRITON = (3, 4)
_DTYPES = (torch.float32, torch.bfloat16)
_said: set[str] = set()


class Choice(NamedTuple):
    """A backend and, where ``auto`` would have taken another one on this device, why it could not.

    Attributes:
        backend: ``torch`` or ``triton``.
        fallback: the reason, or ``None`` where the choice was the first one.
        verdict: on the kernels; ``None`` where they were out of the question.
    """

    backend: str
    fallback: str | None = None
    verdict: Verdict | None = None


def check_name(backend: str) -> None:
    """Raise `OptionError` unless ``backend`` is ``auto``, ``torch`` or ``triton``."""
    if backend not in BACKENDS:
        raise OptionError(f"unknown backend {backend!r}; choose {', '.join(BACKENDS)}")


def choose(
    asked: str,
    device: torch.device,
    dtype: torch.dtype,
    refusal: Callable[[str], str | None],
    verdict: Callable[[str, bool], Verdict],
    name: str,
) -> Choice:
    """Return the backend that computes a model on a device in a dtype.

    Kernels that were asked for run, proved or not, with one warning where they are not; ``auto`` proves them at first
    use. Where it then takes torch on account of the machine or of the proof, one warning says so; what the model is,
    or was asked to run as, is no news to the user.

    Args:
        asked: ``auto``, ``torch`` or ``triton``.
        device: where the model is.
        dtype: of its parameters.
        refusal: says of a backend why the model, as it is, has no kernels for it, or ``None`` where it has.
        verdict: of a backend's kernels; its second argument is whether to prove them where nothing is known.
        name: what messages call the model.

    Raises:
        DeviceError: the backend that was asked for cannot serve; the message says why.
    """
    if asked == "torch" or (asked == "auto" and not prefers_kernels(device)):
        return Choice("torch")
    found: Verdict | None = None
    of_model = refusal("triton")
    reason = of_model or triton_refusal(device, dtype)
    if asked == "triton":
        if reason is not None:
            raise DeviceError(f"the backend 'triton' cannot run {name!r}: {reason}; or choose auto or torch")
        found = verdict("triton", False)
        if not found.verified:
            _say_once(f"the backend 'triton' was asked for and computes {name!r}, though {found.reason}")
        return Choice("triton", None, found)
    if reason is None:
        found = verdict("triton", True)
        if found.verified:
            return Choice("triton", None, found)
        reason = found.reason
    if of_model is None:
        _say_once(f"torch computes {name!r} on {device}, and not the backend 'triton': {reason}")
    return Choice("torch", reason, found)


def prefers_kernels(device: torch.device) -> bool:
    """Return whether ``auto`` would rather take kernels on such a device: on GPUs, as the CPU only interprets them."""
    return device.type == "cuda"


def _say_once(line: str) -> None:
    """Warn, once in a process: a model asks for its backend with every image."""
    if line not in _said:
        _said.add(line)
        warnings.warn(line, FusekitWarning, stacklevel=4)


def triton_refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why Triton kernels cannot run on ``device`` in ``dtype``, with the remedy, or ``None`` where they can."""
    missing = missing_triton()
    if missing is not None:
        return f"{missing}; run: pip install 'fusekit-imaging[triton]' (Linux)"
    if dtype not in _DTYPES:
        return f"the kernels compute in float32 and bfloat16, not in {str(dtype).removeprefix('torch.')}"
    if device.type == "cuda":
        return _capability_refusal(*torch.cuda.get_device_capability(device))
    if interprets():
        return None
    return f"it needs a CUDA device, and the model is on {device}; for tests TRITON_INTERPRET=1 runs kernels on the CPU"


def _capability_refusal(major: int, minor: int) -> str | None:
    if (major, minor) >= LEAST_CAPABILITY:
        return None
    least = ".".join(map(str, LEAST_CAPABILITY))
    return f"the GPU has compute capability {major}.{minor}, and the kernels need {least} (Ampere) or later"


@functools.cache
def missing_triton() -> str | None:
    """Return what is wrong with the installed triton, ``None`` where nothing is; looking does not import it.

    PyTorch's builds for CUDA bring a triton of their own, which may be older than what the kernels are written for.
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    try:
        found = version("triton")
    except PackageNotFoundError:
        return None
    least = ".".join(map(str, LEAST_TRITON))
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < LEAST_TRITON:
        return f"triton {found} is installed, and the kernels need {least} or later"
    return None


def interprets() -> bool:
    """Return whether Triton is told to interpret kernels on the CPU, which is for tests: it is slow."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


def describe() -> str:
    """Return in one line whether Triton kernels can run on this machine, for ``fusekit doctor``."""
    missing = missing_triton()
    if missing is not None:
        return f"{missing}: models run in torch"
    reasons = [triton_refusal(torch.device("cuda", i), torch.bfloat16) for i in range(torch.cuda.device_count())]
    if reasons:
        served = [f"cuda:{index}" for index, reason in enumerate(reasons) if reason is None]
        return f"serves {', '.join(served)}" if served else str(reasons[0])
    return "interprets kernels on the CPU, slowly" if interprets() else "installed; there is no CUDA device to run on"
