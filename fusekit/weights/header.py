"""The header of a safetensors file: checked whole before anything is taken of the file, for it may say anything.

The format is eight bytes with the length of a JSON text, the text, and the tensors' bytes one behind the other
(https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusekit.errors import WeightsError
from fusekit.machine.files import why
from fusekit.machine.parsing import parse_json

#: Of a header, bytes: room for a hundred thousand tensors. The library takes up to 100 MB, gigabytes as objects.
_LONGEST = 1 << 24
_LENGTH = 8
#: Bits of a value, by the format's name of its dtype.
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
#: What the dtypes are that a network's tensors can be filled with.
_KINDS = {
    **dict.fromkeys(("F64", "F32", "F16", "BF16"), "floating"),
    **dict.fromkeys(("I64", "I32", "I16", "I8", "U8"), "integer"),
    "BOOL": "boolean",
}
_MOST_AXES = 64


@dataclass(frozen=True)
class TensorFacts:
    """What is known of a tensor before it is read.

    Attributes:
        shape: its sides.
        kind: ``floating``, ``integer`` or ``boolean``; the dtype's own name for what no network here is made of.
        dtype: as messages call it.
        size: bytes.
    """

    shape: tuple[int, ...]
    kind: str
    dtype: str
    size: int


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file.

    Attributes:
        metadata: texts by name.
        tensors: by name, in the order of their bytes.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorFacts]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(each.size for each in self.tensors.values())


def read_header(path: Path) -> Header:
    """Return the header of a safetensors file, of which every number was held against the file's own length.

    Raises:
        WeightsError: the file cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(_LENGTH), "little")
            fault = _length_fault(length, size)
            text = b"" if fault else file.read(length)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {why(error)}; check its permissions, or copy it again") from error
    if fault:
        raise damaged(path, fault)
    try:
        said = parse_json(text.decode("utf-8"))
        return _checked(said, size - _LENGTH - length)
    except ValueError as error:
        raise damaged(path, f"its header cannot be used: {error}") from error


def damaged(path: Path, fact: object) -> WeightsError:
    """Return the error for a file that is not what its name says."""
    return WeightsError(f"{path} is not a readable safetensors file ({fact}); download or convert it again")


def _length_fault(length: int, size: int) -> str | None:
    if size < _LENGTH:
        return f"it ends after {size} bytes"
    if length > size - _LENGTH:
        return f"it says that its header has {length} bytes, and {size - _LENGTH} are there"
    if length > _LONGEST:
        return f"it says that its header has {length} bytes, and {_LONGEST} are the most"
    return None


def _checked(said: Any, size: int) -> Header:
    """Return what a header says of ``size`` bytes of tensors.

    Raises:
        ValueError: it cannot be.
    """
    if not isinstance(said, dict):
        raise ValueError("it is no JSON object")
    metadata = said.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise ValueError("its '__metadata__' maps names to something else than texts")
    spans = {name: _span(name, entry) for name, entry in said.items()}
    tensors, end = {}, 0
    for name, (facts, first, last) in sorted(spans.items(), key=lambda item: item[1][1:]):
        if first != end:
            raise ValueError(f"the bytes of {_short(name)} begin at {first}, and those before it end at {end}")
        tensors[name], end = facts, last
    if end != size:
        raise ValueError(f"its tensors have {end} bytes, and {size} are there")
    return Header(metadata, tensors)


def _span(name: str, entry: Any) -> tuple[TensorFacts, int, int]:
    """Return the facts of a tensor, and where its bytes begin and end."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"it says something else of {_short(name)} than dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"the dtype of {_short(name)} is {_short(dtype)}, which the format does not have")
    if not _are_counts(shape) or len(shape) > _MOST_AXES:
        raise ValueError(f"the shape of {_short(name)} is {_short(shape)}")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"the data_offsets of {_short(name)} are {_short(offsets)}")
    first, last = offsets
    if math.prod(shape) * _BITS[dtype] != (last - first) * 8:
        raise ValueError(
            f"{_short(name)} of shape {_short(shape)} and dtype {dtype} cannot have {last - first} bytes, as it says"
        )
    return TensorFacts(tuple(shape), _KINDS.get(dtype, dtype), dtype, last - first), first, last


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _short(value: object) -> str:
    """Return a value as messages show it, whose text may be very long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
