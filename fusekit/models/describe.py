"""Where and how a model computes, for records, cards and tables."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from fusekit.machine.devices import device_name
from fusekit.models.base import FusionModel
from fusekit.registry.discovery import registries
from fusekit.version import __version__


def machine(model: FusionModel) -> dict[str, Any]:
    """Return ``device``, ``device_name``, ``dtype``, ``form`` and ``backend`` of where and how a model computes.

    ``backend_fallback`` says why a GPU runs torch where ``auto`` would have taken kernels, and ``backend_verdict`` what
    came of the kernels' trials; both are ``null`` elsewhere.
    """
    choice = model.backend_choice
    return {
        "device": str(model.device),
        "device_name": device_name(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "dtype_reason": model.provenance.dtype_reason if model.provenance is not None else None,
        "backend": choice.backend,
        "backend_fallback": choice.fallback,
        "backend_verdict": None if choice.verdict is None else choice.verdict.as_dict(),
        "form": model.form,
    }


def versions(model: FusionModel) -> dict[str, str]:
    """Return the versions that a result depends on, with that of the distribution which owns the model."""
    found = {"fusekit": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    found["numpy"] = np.__version__
    models = registries().models
    owner = models.entry(model.spec.id).owner if model.spec.id in models else ""
    if owner and owner != "fusekit-imaging":
        try:
            found[owner] = version(owner)
        except PackageNotFoundError:
            found[owner] = "unknown"
    return found
