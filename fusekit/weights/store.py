"""Safetensors files of weights: writing, reading into a model, and what their headers say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusekit.errors import WeightsError
from fusekit.files import atomic_path

if TYPE_CHECKING:
    from fusekit.model import FusionModel


def save_weights(model: FusionModel, path: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write ``model``'s state dict to ``path`` atomically; the header names the model and its configuration."""
    metadata = {"model": model.spec.id, "config": model.config, **(extra or {})}
    save_tensors({key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}, path, metadata)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write tensors and header to a safetensors file atomically.

    The header is one JSON text: safetensors writes several in an order that changes from run to run, and equal weights
    should be equal files.
    """
    header = {"fusekit": json.dumps(metadata, sort_keys=True)}
    with atomic_path(path) as partial:
        save_file(dict(tensors), partial, metadata=header)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file, on the CPU.

    Raises:
        WeightsError: the file is missing, damaged, or no safetensors at all.
    """
    _check_file(path)
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(_damaged(path, error)) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what `save_tensors` wrote into the header of a safetensors file; empty for a file of others.

    Raises:
        WeightsError: the file is missing, damaged, or no safetensors at all.
    """
    _check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("fusekit", "{}")
            metadata = json.loads(header)
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(_damaged(path, error)) from error
    return metadata if isinstance(metadata, dict) else {}


def read_weights(model: FusionModel, path: Path, *, strict: bool = True) -> tuple[list[str], list[str]]:
    """Load a safetensors file into ``model``.

    Args:
        model: any model; its tensors keep their dtype.
        path: the file.
        strict: raise where keys are missing or left over; otherwise return them.

    Returns:
        the keys that the file lacks, and those that the model has no use for.

    Raises:
        WeightsError: the file is damaged, or its keys or shapes are not this model's.
    """
    return fit_state_dict(model, read_tensors(path), path, strict=strict)


def fit_state_dict(
    model: FusionModel, state: Mapping[str, Tensor], path: Path, *, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Load tensors that were read from ``path`` into ``model``; arguments and errors as `read_weights`."""
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    if strict and (missing or unexpected):
        raise WeightsError(f"{path} does not fit the model {model.spec.id!r}: {_difference(missing, unexpected)}")
    for key in own.keys() & state.keys():
        if own[key].shape != state[key].shape:
            raise WeightsError(
                f"{path} does not fit the model {model.spec.id!r}: {key} has shape {tuple(state[key].shape)} "
                f"and the model needs {tuple(own[key].shape)}; check the encoder options"
            )
    for key in sorted(own.keys() & state.keys()):
        if state[key].is_floating_point() and not bool(torch.isfinite(state[key]).all()):
            raise WeightsError(f"{path} holds values that are not finite, in {key}; train or download it again")
    model.load_state_dict(state, strict=False)
    return missing, unexpected


def _difference(missing: list[str], unexpected: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing, the first {missing[0]!r}")
    if unexpected:
        parts.append(f"{len(unexpected)} are unknown to it, the first {unexpected[0]!r}")
    return " and ".join(parts) + "; name the model that these weights belong to, and check the encoder options"


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; check the path")
    if path.suffix.lower() in {".pth", ".pt", ".ckpt", ".bin", ".pkl"}:
        raise WeightsError(
            f"{path} is a pickled checkpoint, which fusekit does not load; "
            f"convert it: fusekit weights convert --model NAME {path} -o {path.with_suffix('.safetensors').name}"
        )


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is not a readable safetensors file ({error}); download or convert it again"
