"""``fusekit.load``: from a name or a file to a model in evaluation mode."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fusekit.errors import DeviceError, FusekitError, OptionError, PluginError, UnknownNameError, WeightsError
from fusekit.kernels.backend import check_name
from fusekit.model import EncoderDecoder, FusionModel
from fusekit.plugins import registries
from fusekit.registry import import_target
from fusekit.rules.base import FusionRule
from fusekit.spec import ModelSpec
from fusekit.warning import FusekitWarning
from fusekit.weights.resolve import (
    ResolvedWeights,
    download,
    from_hub,
    from_path,
    is_hub_address,
    parse_hub_address,
    resolve,
)
from fusekit.weights.store import read_metadata, read_weights

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_EDGE = "encoder.edge."


@dataclass(frozen=True)
class Provenance:
    """What a loaded model was made of, for the record.

    Attributes:
        config: the factory's keyword arguments.
        weights: the file, or ``None`` for a model without trained weights.
        notes: such as an edge operator that the weights were not trained with.
        dtype_reason: why the dtype ``auto`` took what it took; ``None`` where the dtype was asked for.
    """

    config: dict[str, Any]
    weights: ResolvedWeights | None
    notes: tuple[str, ...] = ()
    dtype_reason: str | None = None


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
        name: a model (``"ehdran"``), a model with weights (``"ehdran.ct-mri"``), a folder of ``save_pretrained``, a
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
    check_name(backend)
    spec, found, header = _locate(str(name), model, weights)
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
        from fusekit.precision import fastest_precision

        target_dtype, reason = fastest_precision(network)
        network.to(dtype=target_dtype)
    network.provenance = Provenance(network.config, found, notes, reason)
    return network


def resolve_device(device: str) -> torch.device:
    """Return the device of a name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: not such a name, or this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise DeviceError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N") from None
    if chosen.type not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"there is no device {device!r}: this machine shows {torch.cuda.device_count()} CUDA devices to torch "
            f"{torch.__version__}; choose auto or cpu"
        )
    return chosen


def resolve_dtype(dtype: str) -> torch.dtype:
    """Return the torch dtype called ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        DeviceError: there is no such dtype.
    """
    if dtype not in _DTYPES:
        raise DeviceError(f"unknown dtype {dtype!r}; choose auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def _locate(
    name: str, model: str | None, weights: str | Path | None
) -> tuple[ModelSpec, ResolvedWeights | None, dict[str, Any]]:
    """Return the spec, the weights file, and the configuration that stands beside or in the file."""
    if model is not None:
        if weights is not None:
            raise OptionError("give the weights either as the first argument or as weights=, not both")
        spec = _spec(model)
        found = resolve(spec, name)
        return spec, found, _header_config(found, spec)
    # A file called ehdran.safetensors is a file, not the weights "safetensors" of ehdran.
    split = None if name.endswith(".safetensors") else _split_name(name)
    if split is not None:
        spec, tag = split
        if tag and weights is not None:
            raise OptionError(f"{name!r} names weights already; leave out either '.{tag}' or weights={str(weights)!r}")
        found = resolve(spec, tag or weights)
        return spec, found, _header_config(found, spec)
    if is_hub_address(name):
        repository, revision = parse_hub_address(name)
        config = _read_config(download(repository, "config.json", revision))
        return _spec(_model_of(config, name)), from_hub(name), _without_model(config)
    path = Path(name)
    if path.exists() or path.suffix == ".safetensors" or len(path.parts) > 1:
        found = from_path(path)
        config = _config_of_file(found.path)
        return _spec(_model_of(config, name)), found, _without_model(config)
    raise UnknownNameError("model", name, registries().models.names())


def _spec(model: str) -> ModelSpec:
    spec: ModelSpec = registries().models.entry(model).details["spec"]
    return spec


def _split_name(name: str) -> tuple[ModelSpec, str] | None:
    """Split ``model.tag`` at the longest registered model name; ``None`` where no prefix is one."""
    models = registries().models
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        head = ".".join(parts[:end])
        if head in models:
            return _spec(head), ".".join(parts[end:])
    return None


def _config_of_file(path: Path) -> dict[str, Any]:
    """Return what a weights file says of itself: its header, or else the ``config.json`` beside it."""
    metadata = read_metadata(path)
    if "model" in metadata:
        return {"model": metadata["model"], **metadata.get("config", {})}
    beside = path.with_name("config.json")
    return _read_config(beside) if beside.is_file() else {}


def _header_config(found: ResolvedWeights | None, spec: ModelSpec) -> dict[str, Any]:
    """Return the configuration in a file's header; a header of another model is an error."""
    if found is None:
        return {}
    config = _config_of_file(found.path)
    if config.get("model", spec.id) != spec.id:
        raise WeightsError(
            f"{found.path} holds weights of the model {config['model']!r}, not of {spec.id!r}; "
            f"load it as {config['model']!r}"
        )
    return _without_model(config)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}; restore it or pass model=NAME") from error
    return config if isinstance(config, dict) else {}


def _model_of(config: Mapping[str, Any], name: str) -> str:
    if not isinstance(config.get("model"), str):
        raise WeightsError(f"{name} does not say which model its weights belong to; pass model=NAME (--model NAME)")
    return str(config["model"])


def _without_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the factory's keyword arguments of a configuration: all but model, training and weights."""
    return {key: value for key, value in config.items() if key not in ("model", "training", "weights")}


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
        raise PluginError(f"{spec.factory} of the model {spec.id!r} is not a fusekit.model.FusionModel")
    network.spec = spec
    return network


def _fill(network: FusionModel, found: ResolvedWeights, trained_edge: str | None, edge: str | None) -> tuple[str, ...]:
    """Load the weights; with another edge operator than they were trained with, all but its own, and warn."""
    if edge is None or edge == trained_edge:
        read_weights(network, found.path)
        return ()
    missing, unexpected = read_weights(network, found.path, strict=False)
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
