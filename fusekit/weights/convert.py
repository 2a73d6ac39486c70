"""Published checkpoints of a model become safetensors: found in what wraps them, renamed, held against the model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fusekit.errors import FusekitError, FusekitWarning, OptionError, OutputError, WeightsError, some
from fusekit.machine.files import check_writable, same_file, sha256_of
from fusekit.registry.contract import Component, calling, registered
from fusekit.registry.discovery import registries
from fusekit.registry.registry import import_target
from fusekit.registry.specs import ModelSpec
from fusekit.weights.checkpoints import read_state_dicts, variants
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


def convert_checkpoint(
    model: str, sources: Sequence[Path], output: Path, overwrite: bool = False, key: str | None = None
) -> int:
    """Convert a checkpoint to a safetensors file of ``model`` and return its number of tensors.

    The weights are looked for in what trainers wrap them in: entries such as ``state_dict``, lists, prefixes such as
    ``module.``. The model's class maps the published key names; the result must then fit the model exactly. A file that
    is at ``output`` already stays, unless ``overwrite`` says otherwise.

    Args:
        model: a registered model.
        sources: pickled checkpoints, safetensors files or ``.npz``: one, or several for a model whose parts are
            published one by one.
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
    if any(same_file(source, output) for source in sources):
        raise OutputError(f"cannot write {output}: it is the checkpoint itself; choose another name")
    if len(sources) > 1 and key is not None:
        raise OptionError("--key says where in one checkpoint weights lie; leave it out, or give one checkpoint")
    check_writable(output, overwrite)
    entry = registries().models.entry(model)
    component, network_class = registered(registries().models, model), import_target(entry, "model")
    spec: ModelSpec = entry.details["spec"]
    with calling(component):
        network = network_class(**spec.config)
    converter = _Converter(spec, component, network_class, network)
    if len(sources) == 1:
        chosen = _chosen(converter.fitting(sources[0]), key, sources[0])
        state, names = chosen.state, {"key": chosen.key} if chosen.key else {}
    else:
        state, names = converter.joined(sources), {}
    fill(network, state, sources[0])
    digests = [sha256_of(source) for source in sources]
    origin: dict[str, Any] = {"converted_from": [source.name for source in sources], "source_sha256": digests}
    if len(sources) == 1:
        origin = {name: value[0] for name, value in origin.items()}
    save_weights(network, output, {**network.header, **origin, **names})
    return len(network.state_dict())


class _Converter(NamedTuple):
    """What turns checkpoints into weights of one model.

    Attributes:
        spec: of the model.
        component: what messages call it.
        network_class: whose ``convert_state_dict`` knows the published names.
        network: that the weights must fit.
    """

    spec: ModelSpec
    component: Component
    network_class: Any
    network: Any

    def fitting(self, source: Path) -> list[_Fitting]:
        """Return all weights in a file that fit the model exactly.

        Raises:
            WeightsError: there are none.
        """
        refused: list[tuple[int, FusekitError]] = []
        least = max(1, len(self.network.state_dict()) // 2)
        fits = list(self._candidates(source, least, refused, whole=True))
        if fits:
            return fits
        part = next(self._candidates(source, 1, []), None) if self.spec.base else None
        if part is not None:
            raise WeightsError(
                f"{source} holds {len(part.state)} of the {len(self.network.state_dict())} tensors of the model "
                f"{self.spec.id!r}; if others are in another file, give both: fusekit weights convert {source} OTHER"
            )
        # Of all that was tried, what the largest set lacks tells most.
        error = max(refused, key=lambda each: each[0])[1]
        if str(source) in str(error):
            raise error
        raise WeightsError(f"{source} is not of the model {self.spec.id!r}: {error}")

    def joined(self, sources: Sequence[Path]) -> dict[str, Tensor]:
        """Return the weights of which each file holds a part.

        Raises:
            WeightsError: a file holds none, two hold the same, or all together hold too few.
        """
        state: dict[str, Tensor] = {}
        for source in sources:
            refused: list[tuple[int, FusekitError]] = []
            part = next(self._candidates(source, 1, refused), None)
            if part is None:
                error = max(refused, key=lambda each: each[0])[1]
                raise WeightsError(f"{source} holds no part of the model {self.spec.id!r}: {error}")
            twice = sorted(state.keys() & part.state.keys())
            if twice:
                raise WeightsError(f"{source} holds {twice[0]!r}, which another file holds too; leave one of them out")
            state |= part.state
        missing = sorted(self.network.state_dict().keys() - state.keys())
        if missing:
            raise WeightsError(
                f"{' and '.join(map(str, sources))} together hold {len(state)} of the "
                f"{len(self.network.state_dict())} tensors of the model {self.spec.id!r}; {missing[0]!r} is missing"
            )
        return state

    def _candidates(
        self, source: Path, least: int, refused: list[tuple[int, FusekitError]], *, whole: bool = False
    ) -> Iterator[_Fitting]:
        """Yield what fits of a file: ``whole`` weights, or also a part; what does not is added to ``refused``."""
        for candidate in read_state_dicts(source):
            for prefix, tensors in variants(candidate.tensors, least):
                try:
                    with calling(self.component):
                        state = self.network_class.convert_state_dict(tensors)
                    facts = {name: facts_of(each) for name, each in state.items()}
                    unknown = check_fit(self.network, facts, source, self.spec.id, strict=whole)[1]
                    if unknown or not state:
                        raise WeightsError(f"{unknown[0]!r} is unknown to it" if unknown else "it holds nothing of it")
                except FusekitError as error:
                    refused.append((len(tensors), error))
                    continue
                where = ".".join(filter(None, (candidate.key, prefix.rstrip("."))))
                yield _Fitting(where, state, len(candidate.tensors) - len(tensors))


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
