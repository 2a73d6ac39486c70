"""The one door for pickled checkpoints, and for NumPy's archives: read as tensors and nothing else."""

from __future__ import annotations

import argparse
import codecs
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusekit.errors import FusekitError, MachineError, WeightsError, memory_text
from fusekit.machine.faults import as_ours
from fusekit.machine.memory import available_bytes
from fusekit.weights.mistaken import kind_of
from fusekit.weights.store import read_tensors

#: Under which names trainers write weights, the averaged ones first, as those are which they mean to be used.
_NAMES = (
    *("params_ema", "state_dict_ema", "model_ema", "ema_model", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "netG", "net_g"),
    *("generator", "G", "params", "weights"),
)
#: What else trainers write; moments of an optimiser have the shapes of weights.
_NO_WEIGHTS = re.compile("optim|sched|scaler|^lr|amp$|rng|callback|hyper_parameters", re.IGNORECASE)
_MOST_LEVELS, _MOST_ENTRIES = 5, 64


@dataclass(frozen=True)
class StateDict:
    """Tensors that a checkpoint holds together.

    Attributes:
        key: under which entries they lie, joined by dots; empty where they are all that there is.
        tensors: by name.
    """

    key: str
    tensors: Mapping[str, Tensor]


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file: of several sets, those of the largest.

    Raises:
        WeightsError: as of `read_state_dicts`.
    """
    return dict(max(read_state_dicts(path), key=lambda each: len(each.tensors)).tensors)


def read_state_dicts(path: Path) -> list[StateDict]:
    """Return the sets of tensors in a safetensors file, a pickled checkpoint or an ``.npz``, the likeliest first.

    Raises:
        WeightsError: the file is missing, damaged, no weights at all, larger than the memory that is free, holds
            anything that ``weights_only=True`` refuses, or no tensors.
    """
    kind = kind_of(path)
    if kind == "safetensors":
        return [StateDict("", read_tensors(path))]
    if kind == "script":
        raise WeightsError(
            f"{path} is refused: it is a TorchScript archive, which is code; where you trust it, save its tensors "
            "alone (torch.save(torch.jit.load(FILE).state_dict(), 'state.pth')), and convert those"
        )
    if kind == "npz":
        return [StateDict("", _arrays(path))]
    if path.suffix == ".safetensors" and kind != "pickle":
        return [StateDict("", read_tensors(path))]
    loaded = _unpickled(path)
    found = list(_state_dicts(loaded, ()))
    if not found:
        raise WeightsError(f"{path} holds no state dict, only {_described(loaded)}; ask its authors for one")
    return found


def _unpickled(path: Path) -> Any:
    try:
        _check_size(path)
        with _harmless_allowed():
            return torch.load(path, map_location="cpu", weights_only=True)
    except FusekitError:
        raise
    # A damaged archive or pickle is read until something fails, which may be anything.
    except Exception as error:
        # PyTorch 2.4 refuses what ends too early, too.
        if isinstance(error, pickle.UnpicklingError) and "might be corrupted" not in str(error):
            raise WeightsError(
                f"{path} is refused: it holds more than tensors, and reading it could run code ({_reason(error)}); "
                "where you trust it, load it with its authors' code, save the tensors alone "
                "(torch.save(model.state_dict(), 'state.pth')), and convert those"
            ) from error
        ours = as_ours(error)
        damaged = WeightsError(f"{path} cannot be read as a checkpoint ({_reason(error)}); download it again")
        raise (ours if isinstance(ours, MachineError) else damaged) from error


def _check_size(path: Path) -> None:
    """Raise `WeightsError` for an archive whose parts need more memory than is free; they may be packed."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size, free = sum(each.file_size for each in archive.infolist()), available_bytes()
    if size > free:
        raise WeightsError(
            f"{path} unpacks to {memory_text(size)}, and {memory_text(free)} of memory are free; free some, or use a "
            "larger machine"
        )


@contextmanager
def _harmless_allowed() -> Iterator[None]:
    """Let through what trainers write beside the weights and what runs nothing: NumPy's numbers, parsed arguments."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(each)) for each in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")}
    names: list[Any] = [argparse.Namespace, scalar, np.dtype, *dtypes]
    # The bytes of a number are written as text that this reads; PyTorch 2.4 does not let it through by itself.
    names.append(codecs.encode)
    if hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        # The place changed with NumPy 2; torch takes names other than an object's own since it has this function.
        names += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    known = torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals(names)
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


def _reason(error: Exception) -> str:
    """Return what torch says of its refusal, without its advice to load unsafely."""
    text = " ".join(str(error).split())
    detail = text.partition("WeightsUnpickler error: ")[2] or text
    return (detail.split(". ")[0] or type(error).__name__)[:200]


def _described(loaded: Any) -> str:
    kind = type(loaded).__name__
    if isinstance(loaded, Mapping) and loaded:
        names = ", ".join(repr(str(key))[:40] for key in list(loaded)[:5])
        return f"a {kind} of {names}{' and more' if len(loaded) > 5 else ''}"
    return f"a {kind}"


def _state_dicts(value: Any, where: tuple[str, ...]) -> Iterator[StateDict]:
    """Yield what holds tensors by name, however trainers wrapped it: in dictionaries, lists and tuples."""
    if len(where) > _MOST_LEVELS:
        return
    if isinstance(value, (list, tuple)):
        value = {str(number): each for number, each in enumerate(value[:_MOST_ENTRIES]) if not isinstance(each, Tensor)}
    if not isinstance(value, Mapping):
        return
    entries = {str(key): each for key, each in value.items() if not _NO_WEIGHTS.search(str(key))}
    tensors = {key: each for key, each in entries.items() if isinstance(each, Tensor)}
    if tensors:
        yield StateDict(".".join(where), tensors)
    inner = {key: each for key, each in entries.items() if isinstance(each, (Mapping, list, tuple))}
    ordered = sorted(inner, key=_rank)[:_MOST_ENTRIES]
    parts: dict[str, Tensor] = {}
    for key in ordered:
        for found in _state_dicts(inner[key], (*where, key)):
            yield found
            if found.key == ".".join((*where, key)):
                parts |= {f"{key}.{name}": each for name, each in found.tensors.items()}
    # A network whose encoder and decoder were saved side by side.
    if len(ordered) > 1 and parts:
        yield StateDict(".".join(where), parts)


def _rank(name: str) -> int:
    return _NAMES.index(name) if name in _NAMES else len(_NAMES)


def _arrays(path: Path) -> dict[str, Tensor]:
    """Return the arrays of an ``.npz``; one of objects, which are pickled, is refused."""
    tensors = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_array(archive, member)
        _check_size(path)
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                array = arrays[name]
                tensors[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as NumPy's arrays ({_reason(error)}); save them again") from error
    if not tensors:
        raise WeightsError(f"{path} holds no arrays; save those of the state dict by their names")
    return tensors


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise `ValueError` for an array that is larger than its bytes, or is made of objects."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{member.filename} is of version {version} of NumPy's format")
        shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds objects, whose reading could run code")
    size = dtype.itemsize
    for side in shape:
        size *= int(side)
    if size > member.file_size:
        raise ValueError(f"{member.filename} says that it has {size} bytes, and {member.file_size} are there")


def variants(tensors: Mapping[str, Tensor], least: int, levels: int = 3) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Yield the tensors by other names, without what trainers put before the network's own ones.

    Args:
        tensors: by name.
        least: fewer tensors than that are no network.
        levels: of prefixes to take away.

    Yields:
        the prefix that was taken away, and the tensors behind it; first all of them as they are.
    """
    yield "", tensors
    if not levels:
        return
    # What torch.compile and DataParallel add wherever they wrap a part.
    for added in ({"_orig_mod"}, {"_orig_mod", "module"}):
        plain = {_without(key, added): each for key, each in tensors.items()}
        if plain.keys() != tensors.keys() and len(plain) == len(tensors):
            yield from variants(plain, least, levels - 1)
    for first in dict.fromkeys(key.partition(".")[0] for key in tensors if "." in key):
        part = {key.removeprefix(f"{first}."): each for key, each in tensors.items() if key.startswith(f"{first}.")}
        if len(part) >= least:
            for prefix, found in variants(part, least, levels - 1):
                yield f"{first}.{prefix}", found


def _without(key: str, added: set[str]) -> str:
    parts: Sequence[str] = key.split(".")
    return ".".join(part for part in parts if part not in added)
