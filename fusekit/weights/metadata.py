"""What a weights file says of itself, read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusekit.errors import WeightsError
from fusekit.machine.parsing import parse_json
from fusekit.weights.header import Header, damaged, read_header
from fusekit.weights.mistaken import kind_of

_PICKLED = {".pth", ".pt", ".ckpt", ".bin", ".pkl", ".npz"}


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
