"""Safetensors files of weights: writing, reading into a model, and what their headers say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fusekit.errors import WeightsError
from fusekit.machine.files import atomic_path


def save_weights(module: nn.Module, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a module's state dict to ``path`` atomically, with a header that says what it belongs to.

    Args:
        module: any module.
        path: the file.
        metadata: for the header, JSON-able; of a model its ``header``.
    """
    save_tensors({key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}, path, metadata)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write tensors and header to a safetensors file atomically.

    The header is one JSON text: safetensors writes several in an order that changes from run to run, and equal weights
    should be equal files.
    """
    header = {"fusekit": json.dumps(metadata, sort_keys=True)}
    # save_file would make a file that only its owner can read.
    with atomic_path(path) as partial:
        partial.write_bytes(save(dict(tensors), metadata=header))


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


def read_weights(module: nn.Module, path: Path, name: str, *, strict: bool = True) -> tuple[list[str], list[str]]:
    """Load a safetensors file into ``module``.

    Args:
        module: any module; its tensors keep their dtype.
        path: the file.
        name: what messages call the module, a model's id.
        strict: raise where keys are missing or left over; otherwise return them.

    Returns:
        the keys that the file lacks, and those that the module has no use for.

    Raises:
        WeightsError: the file is damaged, or its keys or shapes are not this module's.
    """
    return fit_state_dict(module, read_tensors(path), path, name, strict=strict)


def fit_state_dict(
    module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str, *, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Load tensors that were read from ``path`` into ``module``; arguments and errors as `read_weights`."""
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    if strict and (missing or unexpected):
        raise WeightsError(f"{path} does not fit the model {name!r}: {_difference(missing, unexpected)}")
    for key in own.keys() & state.keys():
        if own[key].shape != state[key].shape:
            raise WeightsError(
                f"{path} does not fit the model {name!r}: {key} has shape {tuple(state[key].shape)} "
                f"and the model needs {tuple(own[key].shape)}; check the encoder options"
            )
    for key in sorted(own.keys() & state.keys()):
        if state[key].is_floating_point() and not bool(torch.isfinite(state[key]).all()):
            raise WeightsError(f"{path} holds values that are not finite, in {key}; train or download it again")
    module.load_state_dict(state, strict=False)
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
