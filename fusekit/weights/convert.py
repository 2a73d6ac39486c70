"""Published checkpoints of a model become safetensors: found in what wraps them, renamed, held against the model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fusekit.errors import FusekitError, FusekitWarning, OutputError, WeightsError, some
from fusekit.machine.files import check_writable, same_file, sha256_of
from fusekit.registry.contract import calling, registered
from fusekit.registry.discovery import registries
from fusekit.registry.registry import import_target
from fusekit.weights.checkpoints import StateDict, read_state_dicts, variants
from fusekit.weights.store import check_fit, facts_of, fill, save_weights


class _Fitting(NamedTuple):
    """Weights of the model that a checkpoint holds.

    Attributes:
        key: where they lie, entries and prefixes joined by dots; empty for a file that is nothing else.
        state: under the model's own names.
        left_out: how many tensors lie beside them.
    """

    key: str
    state: Mapping[str, Tensor]
    left_out: int


def convert_checkpoint(model: str, source: Path, output: Path, overwrite: bool = False, key: str | None = None) -> int:
    """Convert ``source`` to a safetensors file of ``model`` and return its number of tensors.

    The weights are looked for in what trainers wrap them in: entries such as ``state_dict``, lists, prefixes such as
    ``module.``. The model's class maps the published key names; the result must then fit the model exactly. A file that
    is at ``output`` already stays, unless ``overwrite`` says otherwise.

    Args:
        model: a registered model.
        source: a pickled checkpoint, a safetensors file or an ``.npz``.
        output: the safetensors file to write.
        overwrite: replace it if it is there.
        key: where in the checkpoint the weights lie, entries and prefixes joined by dots; needed where more than one
            set fits and another one than the first is meant.

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
    component, network_class = registered(registries().models, model), import_target(entry, "model")
    found = read_state_dicts(source)
    with calling(component):
        network = network_class(**entry.details["spec"].config)
    refused: list[tuple[int, FusekitError]] = []

    def fitting(candidate: StateDict) -> Iterator[_Fitting]:
        for prefix, tensors in variants(candidate.tensors, max(1, len(network.state_dict()) // 2)):
            try:
                with calling(component):
                    state = network_class.convert_state_dict(tensors)
                check_fit(network, {name: facts_of(each) for name, each in state.items()}, source, model)
            except FusekitError as error:
                refused.append((len(tensors), error))
                continue
            where = ".".join(filter(None, (candidate.key, prefix.rstrip("."))))
            yield _Fitting(where, state, len(candidate.tensors) - len(tensors))

    fits = [each for candidate in found for each in fitting(candidate)]
    if not fits:
        # Of all that was tried, what the largest set lacks tells most.
        error = max(refused, key=lambda each: each[0])[1]
        raise error if str(source) in str(error) else WeightsError(f"{source} is not of the model {model!r}: {error}")
    chosen = _chosen(fits, key, source)
    fill(network, chosen.state, source)
    origin = {"converted_from": source.name, "source_sha256": sha256_of(source)}
    save_weights(network, output, {**network.header, **origin, **({"key": chosen.key} if chosen.key else {})})
    return len(network.state_dict())


def _chosen(fits: Sequence[_Fitting], key: str | None, source: Path) -> _Fitting:
    """Return the weights under ``key``, or else the first, and say what is left aside.

    Raises:
        WeightsError: there are none under the key.
    """
    under = [each for each in fits if key is None or each.key == key or each.key.startswith(f"{key}.")]
    names = list(dict.fromkeys(repr(each.key) for each in fits if each.key))
    if not under:
        remedy = f"they lie under {' and '.join(names)}" if names else "they lie in it as they are: leave --key out"
        raise WeightsError(f"{source} holds no weights of this model under {key!r}; {remedy}")
    chosen = under[0]
    others = list(dict.fromkeys(repr(each.key) for each in under[1:] if not _same(each.state, chosen.state)))
    if others and key is None:
        warnings.warn(
            f"{source} holds {len(others) + 1} sets of weights that fit; those under {chosen.key!r} are taken, and "
            f"--key takes others: {some(others)}",
            FusekitWarning,
            stacklevel=3,
        )
    if chosen.left_out:
        warnings.warn(
            f"{source} holds {chosen.left_out} tensors beside those under {chosen.key!r}; they are left out",
            FusekitWarning,
            stacklevel=3,
        )
    return chosen


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)
