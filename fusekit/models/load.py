"""``fusekit.load``: from a name or a file to a model in evaluation mode."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fusekit.errors import (
    FusekitError,
    FusekitWarning,
    OptionError,
    PluginError,
    WeightsError,
)
from fusekit.machine.backends import check_name
from fusekit.machine.devices import resolve_device, resolve_dtype
from fusekit.models.base import EncoderDecoder, FusionModel
from fusekit.models.locate import locate
from fusekit.models.provenance import Provenance
from fusekit.registry.discovery import registries
from fusekit.registry.registry import import_target
from fusekit.registry.specs import ModelSpec
from fusekit.rules.base import FusionRule
from fusekit.weights.resolve import (
    ResolvedWeights,
)
from fusekit.weights.store import read_weights

_EDGE = "encoder.edge."


def load(
    name: str | Path,
    *,
    model: str | None = None,
    weights: str | Path | None = None,
    rule: str | FusionRule | None = None,
    rule_options: Mapping[str, Any] | None = None,
    edge: str | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str = "float32",
    optimize: bool | str = True,
    backend: str = "auto",
) -> FusionModel:
    """Return a fusion model in evaluation mode, ready on its device.

    Args:
        name: a model (``"ehdran"``), a model with weights (``"ehdran.ct-mri"``), a folder of ``model.save``, a
            safetensors file, or ``"hub:owner/name[@revision]"``.
        model: the model that a file belongs to, where its header does not say.
        weights: other weights than the default: a tag, a file, a folder or a hub address.
        rule: default fusion rule of the returned model, a name or an object.
        rule_options: keyword arguments of a rule given by name.
        edge: edge operator to use instead of the one that the weights were trained with.
        encoder_options: keyword arguments of the encoder.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 where the device computes it natively and
            the fused image keeps 50 dB against float32, which is tried on the embedded images.
        optimize: run the model's inference form, if it has one; ``False`` runs the plain modules, a name that form (see
            `FusionModel.optimize`).
        backend: ``auto`` (Triton kernels on a GPU where the model has them, else torch), ``torch`` or ``triton``.

    Raises:
        UnknownNameError: no such model, weights, rule or edge operator.
        WeightsError: the weights cannot be found or read, or belong to another model.
        RuleError, OptionError, DeviceError: a choice that this model or machine cannot serve.
    """
    loaded_by = {key: value for key, value in locals().items() if not key.startswith("rule")}
    check_name(backend)
    spec, found, header = locate(str(name), model, weights)
    target_device = resolve_device(device)
    target_dtype = torch.float32 if dtype == "auto" else resolve_dtype(dtype)
    config = {**spec.config, **header}
    trained_edge = config.get("edge")
    network = build_network(spec, with_choices(spec, config, edge, encoder_options))
    notes: tuple[str, ...] = ()
    if found is not None:
        notes = _fill(network, found, trained_edge, edge)
    elif any(True for _ in network.parameters()):
        raise WeightsError(f"the model {spec.id!r} comes without trained weights; pass weights=FILE")
    if rule is not None or rule_options:
        _set_rule(network, rule, rule_options)
    network.to(device=target_device, dtype=target_dtype).eval().optimize(optimize).use_backend(backend)
    reason = None
    if dtype == "auto":
        from fusekit.models.precision import fastest_precision

        target_dtype, reason = fastest_precision(network)
        network.to(dtype=target_dtype)
    network.provenance = Provenance(network.config, found, notes, reason, loaded_by)
    return network


def with_choices(
    spec: ModelSpec, config: dict[str, Any], edge: str | None, encoder_options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Lay the user's choices over the configuration that the weights came with."""
    chosen = dict(config)
    if (edge is not None or encoder_options) and "encoder" not in spec.config:
        raise OptionError(f"the model {spec.id!r} has no exchangeable encoder; leave out --edge and --encoder-option")
    if edge is not None:
        registries().edge_operators.entry(edge)
        chosen["edge"] = edge
    if encoder_options:
        chosen["encoder_options"] = {**(chosen.get("encoder_options") or {}), **encoder_options}
    return chosen


def build_network(spec: ModelSpec, config: Mapping[str, Any], seed: int = 0) -> FusionModel:
    """Return the model of ``spec`` constructed with ``config``, with initial values that depend on ``seed`` alone.

    Raises:
        OptionError: it does not take these options.
        PluginError: its factory cannot be imported, or makes something else.
    """
    factory = import_target(registries().models.entry(spec.id), "model")
    try:
        # Weights are loaded over the initial values; a fixed seed makes what they do not cover repeatable.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network: FusionModel = factory(**config)
    except FusekitError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"the model {spec.id!r} cannot be built with {dict(config)}: {error}") from error
    if not isinstance(network, FusionModel):
        raise PluginError(f"{spec.factory} of the model {spec.id!r} is not a fusekit.extend.FusionModel")
    network.spec = spec
    return network


def _fill(network: FusionModel, found: ResolvedWeights, trained_edge: str | None, edge: str | None) -> tuple[str, ...]:
    """Load the weights; with another edge operator than they were trained with, all but its own, and warn."""
    if edge is None or edge == trained_edge:
        read_weights(network, found.path, network.spec.id)
        return ()
    missing, unexpected = read_weights(network, found.path, network.spec.id, strict=False)
    strangers = [key for key in (*missing, *unexpected) if not key.startswith(_EDGE)]
    if strangers:
        raise WeightsError(f"{found.path} does not fit the model {network.spec.id!r}: {strangers[0]!r} does not match")
    note = f"the weights {found.name} were trained with the edge operator {trained_edge!r}, not {edge!r}"
    if missing:
        note += f"; the {len(missing)} tensors of {edge!r} are untrained"
    warnings.warn(f"{note}: expect a poorer reconstruction", FusekitWarning, stacklevel=4)
    return (note,)


def _set_rule(network: FusionModel, rule: str | FusionRule | None, options: Mapping[str, Any] | None) -> None:
    """Make ``rule`` the model's default; a model that cannot have it says why."""
    chosen = network.choose_rule(rule, options)
    if isinstance(network, EncoderDecoder):
        network.rule = chosen
