"""The one door for pickled checkpoints: read with ``weights_only=True``, renamed, written as safetensors."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusekit.errors import OutputError, WeightsError
from fusekit.machine.files import check_writable, same_file, sha256_of
from fusekit.registry.discovery import registries
from fusekit.registry.registry import import_target
from fusekit.weights.store import fit_state_dict, read_tensors, save_weights

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params", "weights")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a safetensors file or of a pickled checkpoint.

    A checkpoint that wraps its state dict (``{"model": …, "epoch": …}``) is unwrapped.

    Raises:
        WeightsError: the file is missing, damaged, holds anything that ``weights_only=True`` refuses, or no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; check the path")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it holds more than tensors, and reading it could run code ({_reason(error)}); "
            "ask its authors for a state dict"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} cannot be read as a checkpoint ({_reason(error)}); download it again") from error
    return _state_dict(loaded, path)


def _reason(error: Exception) -> str:
    """Return what torch says of its refusal, without its advice to load unsafely."""
    text = " ".join(str(error).split())
    detail = text.partition("WeightsUnpickler error: ")[2] or text
    return (detail.split(". ")[0] or type(error).__name__)[:200]


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(3):
        if isinstance(loaded, Mapping) and loaded and all(isinstance(value, Tensor) for value in loaded.values()):
            return {str(key): value for key, value in loaded.items()}
        wrapped = [name for name in _WRAPPERS if isinstance(loaded, Mapping) and name in loaded]
        if not wrapped:
            break
        loaded = loaded[wrapped[0]]
    raise WeightsError(f"{path} holds no state dict, only {type(loaded).__name__}; ask its authors for one")


def convert_checkpoint(model: str, source: Path, output: Path, overwrite: bool = False) -> int:
    """Convert ``source`` to a safetensors file of ``model`` and return its number of tensors.

    The model's class maps the published key names; the result must then fit the model exactly. A file that is at
    ``output`` already stays, unless ``overwrite`` says otherwise.

    Raises:
        UnknownNameError: no such model.
        WeightsError: the checkpoint cannot be read or does not fit the model.
        OutputError: ``output`` is not a safetensors file, is there already, is the source, or cannot be written.
    """
    if output.suffix != ".safetensors":
        raise OutputError(f"cannot write {output}: name the output .safetensors")
    if same_file(source, output):
        raise OutputError(f"cannot write {output}: it is the checkpoint itself; choose another name")
    check_writable(output, overwrite)
    entry = registries().models.entry(model)
    network_class = import_target(entry, "model")
    state = network_class.convert_state_dict(read_checkpoint(source))
    network = network_class(**entry.details["spec"].config)
    fit_state_dict(network, state, source, model)
    origin = {"converted_from": source.name, "source_sha256": sha256_of(source)}
    save_weights(network, output, {**network.header, **origin})
    return len(network.state_dict())
