"""``fusekit.load``: from a name or a file to a model in evaluation mode."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fusekit.errors import DeviceError, FusekitWarning, OptionError, PluginError, WeightsError
from fusekit.machine.backends import check_name
from fusekit.machine.devices import resolve_device, resolve_dtype
from fusekit.machine.faults import in_our_words
from fusekit.machine.threads import fit_torch_threads
from fusekit.models.base import FusionModel
from fusekit.models.locate import Located, locate
from fusekit.models.provenance import Provenance
from fusekit.options import FuseOptions, LoadOptions, RunOptions, chosen_names, overridden
from fusekit.registry.contract import calling, fault, registered
from fusekit.registry.discovery import registries
from fusekit.registry.registry import import_target
from fusekit.registry.specs import ModelSpec, modalities_of
from fusekit.weights.resolve import ResolvedWeights, how_to_get
from fusekit.weights.store import check_fit, facts_in, read_weights

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusekit.options import LoadChoices

_EDGE = "encoder.edge."


@in_our_words
def load(
    name: str | Path | None = None, options: LoadOptions | None = None, **choices: Unpack[LoadChoices]
) -> FusionModel:
    """Return a fusion model in evaluation mode, ready on its device.

    Args:
        name: a model (``"ehdran"``), a model with weights (``"ehdran.ct-mri"``), a folder of ``model.save`` or of
            ``fusekit train``, a safetensors file that says its model, or ``"hub:owner/name[@revision]"``. For weights
            that do not say their model it is the model, and they are the choice ``weights``. Without it these weights
            say the model; where there are none, or they say none, it is the default one.
        options: how to load.
        choices: fields of `LoadOptions`, which overrule ``options``.

    Raises:
        UnknownNameError: no such model, weights, edge operator or choice.
        WeightsError: the weights cannot be found or read, or belong to another model.
        OptionError, DeviceError: a choice that this model or machine cannot serve.
    """
    asked = overridden(LoadOptions, options, choices)
    check_name(asked.backend)
    fit_torch_threads()
    located = locate(None if name is None else str(name), asked.weights, modalities_of(asked.modality))
    spec, found, _ = located
    device = resolve_device(asked.device)
    dtype = torch.float32 if asked.dtype == "auto" else resolve_dtype(asked.dtype)
    trained_edge = {**spec.config, **located.config}.get("edge")
    config = with_choices(spec, {**spec.config, **located.config}, asked.edge, asked.encoder_options)
    by_user = asked.edge is not None or bool(asked.encoder_options)
    network = built(located, config, strict=asked.edge is None, from_user=by_user)
    notes: tuple[str, ...] = ()
    if any(True for _ in network.parameters()):
        if found is None:
            raise WeightsError(f"the model {spec.id!r} comes without trained weights; {how_to_get(spec)}")
    else:
        _check_without_parameters(spec, device if asked.device != "auto" else None, dtype)
    if found is not None:
        notes = _fill(network, found, trained_edge, asked.edge)
    if found is not None and found.note:
        notes = (*notes, found.note)
        warnings.warn(found.note, FusekitWarning, stacklevel=2)
    network.to(device=device, dtype=dtype).eval().use_form(asked.form).use_backend(asked.backend)
    reason = None
    if asked.dtype == "auto":
        from fusekit.models.precision import fastest_precision

        dtype, reason = fastest_precision(network)
        network.to(dtype=dtype)
    network.provenance = Provenance(network.config, found, notes, reason, None if name is None else str(name), asked)
    return network


def loaded_model(model: str | Path | FusionModel | None, choices: Mapping[str, Any]) -> FusionModel:
    """Return a model that is loaded already, or load it with those of the choices of a fusion that are of loading.

    Raises:
        OptionError: the model is loaded already, and there are choices of loading.
        FusekitError: as of `load`.
    """
    asked = overridden(LoadOptions, None, choices, FuseOptions, RunOptions)
    if not isinstance(model, FusionModel):
        return load(model, asked)
    given = chosen_names(asked)
    if given:
        raise OptionError(
            f"{', '.join(given)}: choices of fusekit.load, and this model is loaded already; choose where it is loaded"
        )
    return model


def _check_without_parameters(spec: ModelSpec, device: torch.device | None, dtype: torch.dtype) -> None:
    """Raise `DeviceError` for a device or dtype that a model without any parameters cannot be moved to."""
    asked = [str(device)] if device is not None and device.type != "cpu" else []
    asked += [str(dtype).removeprefix("torch.")] if dtype != torch.float32 else []
    if asked:
        raise DeviceError(
            f"the model {spec.id!r} has no parameters and computes on the CPU in float32, not in {' and '.join(asked)};"
            " leave out --device and --dtype"
        )


def with_choices(
    spec: ModelSpec, config: dict[str, Any], edge: str | None, encoder_options: Mapping[str, Any]
) -> dict[str, Any]:
    """Lay the user's choices over the configuration that the weights came with."""
    chosen = dict(config)
    if (edge is not None or encoder_options) and "encoder" not in spec.config:
        raise OptionError(f"the model {spec.id!r} has no exchangeable encoder; leave out --edge and --encoder-option")
    if edge is not None:
        registries().edge_operators.entry(edge)
        chosen["edge"] = edge
    if encoder_options:
        trained = chosen.get("encoder_options") or {}
        if not isinstance(trained, Mapping):
            raise OptionError(f"the encoder options of the weights are {trained!r}, and names with values are wanted")
        chosen["encoder_options"] = {**trained, **encoder_options}
    return chosen


def built(
    located: Located, config: Mapping[str, Any], seed: int = 0, *, strict: bool = True, from_user: bool = True
) -> FusionModel:
    """Return the network of ``config`` that is to be filled with weights.

    What a file says of its network may be anything. So one that did not come with the model is held against that
    network where its tensors take no memory yet.

    Args:
        located: the model and its weights.
        config: keyword arguments of its factory.
        seed: of the initial values.
        strict: whether the file must have all the network's tensors and no other.
        from_user: whether the user has a part in ``config``, and in what is wrong with it.

    Raises:
        OptionError, PluginError: the network cannot be built as the user wants it.
        WeightsError: it cannot be built as the file says, or is not the file's.
    """
    spec, found, said = located
    if found is None or found.origin == "bundled":
        return build_network(spec, config, seed)
    try:
        # A network that looks at its own values fails there, and is built as it is.
        with suppress(OptionError, PluginError), torch.device("meta"):
            outline = build_network(spec, config)
            check_fit(outline, facts_in(found.path, found.prefix), found.path, spec.id, strict=strict)
        return build_network(spec, config, seed)
    except (OptionError, PluginError) as error:
        if not said or from_user:
            raise
        raise WeightsError(f"{found.path} says of its network what cannot be built: {error}") from error


def build_network(spec: ModelSpec, config: Mapping[str, Any], seed: int = 0) -> FusionModel:
    """Return the model of ``spec`` constructed with ``config``, with initial values that depend on ``seed`` alone.

    Raises:
        MissingExtraError, DeviceError: what it requires is not there.
        OptionError: it does not take these options.
        PluginError: its factory cannot be imported, or makes something else.
    """
    models = registries().models
    if "cuda" in spec.requires and not torch.cuda.is_available():
        raise DeviceError(f"the model {spec.id!r} runs on a CUDA device only, and torch finds none; take another model")
    component, factory = registered(models, spec.id), import_target(models.entry(spec.id), "model")
    # Weights are loaded over the initial values; a fixed seed makes what they do not cover repeatable.
    with calling(component), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network: FusionModel = factory(**config)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise OptionError(f"{component} cannot be built with {reprlib.repr(dict(config))}: {reason}") from error
    if not isinstance(network, FusionModel):
        raise fault(
            component, f"is made by {spec.factory}, which is no fusekit.extend.FusionModel", "derive it from one"
        )
    network.spec = spec
    return network


def _fill(network: FusionModel, found: ResolvedWeights, trained_edge: str | None, edge: str | None) -> tuple[str, ...]:
    """Load the weights; with another edge operator than they were trained with, all but its own, and warn."""
    if edge is None or edge == trained_edge:
        read_weights(network, found.path, network.spec.id, prefix=found.prefix)
        return ()
    missing, unexpected = read_weights(network, found.path, network.spec.id, strict=False, prefix=found.prefix)
    strangers = [key for key in (*missing, *unexpected) if not key.startswith(_EDGE)]
    if strangers:
        raise WeightsError(f"{found.path} does not fit the model {network.spec.id!r}: {strangers[0]!r} does not match")
    note = f"the weights {found.name} were trained with the edge operator {trained_edge!r}, not {edge!r}"
    if missing:
        note += f"; the {len(missing)} tensors of {edge!r} are untrained"
    warnings.warn(f"{note}: expect a poorer reconstruction", FusekitWarning, stacklevel=4)
    return (note,)
