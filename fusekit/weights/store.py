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

from fusekit.errors import WeightsError, memory_text
from fusekit.machine.files import atomic_path
from fusekit.machine.memory import available_bytes
from fusekit.machine.parsing import parse_json
from fusekit.weights.header import Header, TensorFacts, damaged, read_header
from fusekit.weights.mistaken import kind_of

_PICKLED = {".pth", ".pt", ".ckpt", ".bin", ".pkl", ".npz"}


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


def header_of(path: Path) -> Header:
    """Return the checked header of a weights file.

    Raises:
        WeightsError: the file is missing, damaged, no weights at all, or a checkpoint that fusekit does not load.
    """
    kind = kind_of(path)
    if kind in ("pickle", "script", "npz") or (not kind and path.suffix.lower() in _PICKLED):
        stem = path.stem if path.suffix != ".safetensors" else f"{path.stem}-converted"
        what = "a NumPy archive" if kind == "npz" else "a pickled checkpoint"
        raise WeightsError(
            f"{path} is {what}, which fusekit does not load; "
            f"convert it: fusekit weights convert --model NAME {path} -o {stem}.safetensors"
        )
    return read_header(path)


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU: all, or those behind ``prefix``, by the rest of their names.

    Raises:
        WeightsError: the file is missing, damaged or no safetensors at all, or larger than the memory that is free.
    """
    size, free = header_of(path).size, available_bytes()
    if size > free:
        raise WeightsError(
            f"{path} holds tensors of {memory_text(size)}, and {memory_text(free)} of memory are free; free some, or use "
            "a larger machine"
        )
    return _tensors(path, prefix)


def _tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    # A dtype that the installed versions of safetensors and torch do not share is a KeyError or an AttributeError.
    except (SafetensorError, ValueError, OSError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise damaged(path, error) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what `save_tensors` wrote into the header of a safetensors file; empty for a file of others.

    ``model`` is a text and ``config`` a dictionary, where they are there.

    Raises:
        WeightsError: the file is missing, damaged, or no safetensors at all; or its header says something else.
    """
    text = header_of(path).metadata.get("fusekit", "{}")
    try:
        metadata = parse_json(text)
    except ValueError as error:
        raise damaged(path, f"what fusekit wrote in its header cannot be read: {error}") from error
    for name, value in (("fusekit", metadata), *_facts(metadata)):
        wanted, kind = ("a text", str) if name.endswith("model") else ("an object", dict)
        if not isinstance(value, kind):
            raise damaged(path, f"{name!r} in its header is {_json_kind(value)} and must be {wanted}")
    found: dict[str, Any] = metadata
    return found


def _facts(metadata: Any) -> list[tuple[str, Any]]:
    """Return what a header says that is used: of the weights, or in a checkpoint of the run that goes on from it."""
    if not isinstance(metadata, dict):
        return []
    named = [(name, metadata[name]) for name in ("model", "config", "training", "identity", "best") if name in metadata]
    identity = metadata.get("identity")
    if isinstance(identity, dict):
        named += [(f"identity.{name}", identity[name]) for name in ("model", "config") if name in identity]
    return named


def _json_kind(value: object) -> str:
    kinds: dict[type, str] = {
        list: "a list",
        str: "a text",
        dict: "an object",
        bool: "true or false",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")


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
    _fill(module, _tensors(path, prefix), path)
    return missing, unexpected


def facts_in(path: Path, prefix: str = "") -> dict[str, TensorFacts]:
    """Return what a file's header says of its tensors, all or those behind ``prefix``."""
    tensors = header_of(path).tensors
    return {key.removeprefix(prefix): facts for key, facts in tensors.items() if key.startswith(prefix)}


def fit_state_dict(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Load tensors that were read from ``path`` into ``module``; arguments and errors as `read_weights`."""
    check_fit(module, {key: _facts_of(value) for key, value in state.items()}, path, name)
    _fill(module, state, path)


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
        kind = _facts_of(own[key]).kind
        # A count of steps may come as a float from who cast a whole checkpoint, a weight never as an integer.
        if theirs[key].kind != kind and (theirs[key].kind, kind) != ("floating", "integer"):
            raise WeightsError(
                f"{path} does not fit the model {name!r}: {key} has the dtype {theirs[key].dtype} and the model needs "
                f"{str(own[key].dtype).removeprefix('torch.')}; save it as float32 or float16"
            )
    return missing, unexpected


def _facts_of(tensor: Tensor) -> TensorFacts:
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    dtype = str(tensor.dtype).removeprefix("torch.")
    kinds = {**dict.fromkeys(floats, "floating"), **dict.fromkeys(integers, "integer"), torch.bool: "boolean"}
    kind = kinds.get(tensor.dtype, dtype) if plain else f"{tensor.layout} {dtype}"
    return TensorFacts(tuple(tensor.shape), kind, kind if not plain else dtype, tensor.numel() * tensor.element_size())


def _fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors that fit; those that the module does not have are left aside."""
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
