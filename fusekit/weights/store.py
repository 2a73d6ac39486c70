"""Safetensors files of weights: writing, reading into a model, and what their headers say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fusekit.errors import MachineError, WeightsError, memory_text
from fusekit.machine.faults import as_ours
from fusekit.machine.files import atomic_path
from fusekit.machine.memory import available_bytes
from fusekit.weights.header import TensorFacts, damaged
from fusekit.weights.metadata import header_of


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


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU: all, or those behind ``prefix`` by the rest of their names.

    Raises:
        WeightsError: the file is missing, damaged or no safetensors at all, or larger than the memory that is free.
    """
    size, free = header_of(path).size, available_bytes()
    if size > free:
        raise WeightsError(
            f"{path} holds tensors of {memory_text(size)}, and {memory_text(free)} of memory are free; free some, or "
            "use a larger machine"
        )
    return _tensors(path, prefix)


def _tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    # A dtype that the installed versions of safetensors and torch do not share is a KeyError or an AttributeError.
    except (SafetensorError, ValueError, OSError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        ours = as_ours(error)
        raise (ours if isinstance(ours, MachineError) else damaged(path, error)) from error


def read_weights(
    module: nn.Module, path: Path, name: str, *, strict: bool = True, prefix: str = ""
) -> tuple[list[str], list[str]]:
    """Load a safetensors file into ``module``; nothing of it is read before its header is known to fit.

    Args:
        module: any module; its tensors keep their dtype.
        path: the file.
        name: what messages call the module, a model's id.
        strict: raise where keys are missing or left over; otherwise return them.
        prefix: before the module's keys in the file; others are left aside.

    Returns:
        the keys that the file lacks, and those that the module has no use for.

    Raises:
        WeightsError: the file is damaged, or its keys, shapes or dtypes are not this module's.
    """
    missing, unexpected = check_fit(module, facts_in(path, prefix), path, name, strict=strict)
    fill(module, _tensors(path, prefix), path)
    return missing, unexpected


def facts_in(path: Path, prefix: str = "") -> dict[str, TensorFacts]:
    """Return what a file's header says of its tensors, all or those behind ``prefix``."""
    tensors = header_of(path).tensors
    return {key.removeprefix(prefix): facts for key, facts in tensors.items() if key.startswith(prefix)}


def check_fit(
    module: nn.Module, theirs: Mapping[str, TensorFacts], path: Path, name: str, *, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Hold what is known of a file's tensors against a module; arguments, results and errors as `read_weights`."""
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - theirs.keys()), sorted(theirs.keys() - own.keys())
    if strict and (missing or unexpected):
        raise WeightsError(f"{path} does not fit the model {name!r}: {_difference(missing, unexpected)}")
    for key in sorted(own.keys() & theirs.keys()):
        if tuple(own[key].shape) != theirs[key].shape:
            raise WeightsError(
                f"{path} does not fit the model {name!r}: {key} has shape {theirs[key].shape} "
                f"and the model needs {tuple(own[key].shape)}; check the encoder options"
            )
        kind = _kind(own[key].dtype)
        # A count of steps may come as a float from who cast a whole checkpoint, a weight never as an integer.
        if theirs[key].kind != kind and (theirs[key].kind, kind) != ("floating", "integer"):
            raise WeightsError(
                f"{path} does not fit the model {name!r}: {key} has the dtype {theirs[key].dtype} and the model needs "
                f"{str(own[key].dtype).removeprefix('torch.')}; save it as float32 or float16"
            )
    return missing, unexpected


def facts_of(tensor: Tensor) -> TensorFacts:
    """Return what a file's header would say of a tensor; of one that is sparse, packed or empty of values, that."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    kind = _kind(tensor.dtype) if plain else f"{dtype} in another layout than a plain one"
    return TensorFacts(tuple(tensor.shape), kind, dtype if plain else kind, tensor.numel() * tensor.element_size())


def _kind(dtype: torch.dtype) -> str:
    """Return the kind of a dtype as `TensorFacts` calls it."""
    if dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        return "floating"
    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    return "integer" if dtype in integers else "boolean" if dtype == torch.bool else str(dtype)


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors that were checked to fit; those that the module does not have are left aside."""
    own = module.state_dict()
    for key in sorted(own.keys() & state.keys()):
        if state[key].is_floating_point() and not bool(torch.isfinite(state[key]).all()):
            raise WeightsError(f"{path} holds values that are not finite, in {key}; train or download it again")
    module.load_state_dict(state, strict=False)


def _difference(missing: list[str], unexpected: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing, the first {missing[0]!r}")
    if unexpected:
        parts.append(f"{len(unexpected)} are unknown to it, the first {unexpected[0]!r}")
    return " and ".join(parts) + "; name the model that these weights belong to, and check the encoder options"
