"""From a name, a file or an address to a spec, a weights file and a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fusekit.errors import OptionError, UnknownNameError, WeightsError
from fusekit.machine.files import is_file
from fusekit.machine.parsing import read_json
from fusekit.options import DEFAULT_MODEL
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec
from fusekit.weights.hub import CONFIG, NotInRepositoryError, download
from fusekit.weights.metadata import read_metadata
from fusekit.weights.resolve import (
    ResolvedWeights,
    is_hub_address,
    is_path,
    parse_hub_address,
    resolve,
    split_pin,
)


class Located(NamedTuple):
    """A model that can be loaded.

    Attributes:
        spec: of the model.
        weights: their file; ``None`` where there are none.
        config: keyword arguments of the model's factory that the weights name.
    """

    spec: ModelSpec
    weights: ResolvedWeights | None
    config: dict[str, Any]


def locate(
    name: str | None, weights: str | Path | None, modalities: Sequence[str] = (), *, or_base: bool = False
) -> Located:
    """Return the model that a name or weights, or both, stand for.

    Args:
        name: a model, a model with the tag of weights, or weights that say their model; ``None`` for the model that
            ``weights`` say, or else the default one.
        weights: as `fusekit.weights.resolve.resolve` takes them.
        modalities: that the sources show.
        or_base: take weights of the model's base too, and return that one's spec with them.

    Raises:
        UnknownNameError: no such model or tag.
        OptionError: weights are named twice.
        WeightsError: they cannot be found or read, do not say their model where they must, or are of another one.
    """
    full = _full_name(weights)
    if full is not None:
        model, tag = full
        if name not in (None, model):
            raise WeightsError(
                f"{weights} are weights of the model {model!r}, not of {name!r}; name no model, or that one"
            )
        name, weights = f"{model}.{tag}", None
    if name is None:
        return _by_weights(weights, modalities)
    # A file called ehdran.safetensors is a file, not the weights "safetensors" of ehdran.
    split = None if split_pin(name)[0].endswith(".safetensors") else _split_name(name)
    if split is not None:
        spec, tag = split
        if tag and weights is not None:
            raise OptionError(f"{name!r} names weights already; leave out either '.{tag}' or weights={str(weights)!r}")
        found = resolve(spec, tag or weights, modalities)
        if or_base and spec.base and found is not None and _config_of(found).get("model") == spec.base:
            spec = spec_of(spec.base)
        return Located(spec, found, _config_for(spec, found))
    if not is_hub_address(name) and not is_path(split_pin(name)[0]):
        raise UnknownNameError("model", name, registries().models.names())
    if weights is not None:
        raise OptionError(
            f"{name!r} are weights already; leave out weights={str(weights)!r}, or name the model instead"
        )
    found = resolve(None, name)
    assert found is not None
    config = _config_of(found)
    if "model" not in config:
        raise WeightsError(
            f"{name} does not say which model its weights belong to; name the model: --model NAME --weights {name}"
        )
    return Located(_spec_in(config, found), found, _without_model(config))


def _by_weights(weights: str | Path | None, modalities: Sequence[str]) -> Located:
    """Return the model that weights say, or, where they are a tag or say none, the default one."""
    default = spec_of(DEFAULT_MODEL) if weights is None or DEFAULT_MODEL in registries().models else None
    found = resolve(default, weights, modalities)
    config = {} if found is None else _config_of(found)
    if found is not None and "model" in config:
        return Located(_spec_in(config, found), found, _without_model(config))
    return Located(default or spec_of(DEFAULT_MODEL), found, _without_model(config))


def spec_of(model: str) -> ModelSpec:
    """Return the registered spec of a model."""
    spec: ModelSpec = registries().models.entry(model).details["spec"]
    return spec


def _spec_in(config: Mapping[str, Any], found: ResolvedWeights) -> ModelSpec:
    """Return the spec of the model that weights say."""
    model = config["model"]
    if model not in registries().models:
        raise WeightsError(
            f"{found.path} holds weights of the model {model[:80]!r}, which is not registered; install the plugin that "
            "brings it, or see 'fusekit list models'"
        )
    return spec_of(model)


def _split_name(name: str) -> tuple[ModelSpec, str] | None:
    """Split ``model.tag`` at the longest registered model name; ``None`` where no prefix is one."""
    models = registries().models
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        head = ".".join(parts[:end])
        if head in models:
            return spec_of(head), ".".join(parts[end:])
    return None


def _full_name(weights: str | Path | None) -> tuple[str, str] | None:
    """Return model and tag of weights that are called as listings and records do, ``model.tag``; pinned or not."""
    if not isinstance(weights, str) or is_file(Path(weights)):
        return None
    spec, tag = _split_name(weights) or (None, "")
    return (spec.id, tag) if spec is not None and spec.find_weights(split_pin(tag)[0]) is not None else None


def _config_for(spec: ModelSpec, found: ResolvedWeights | None) -> dict[str, Any]:
    """Return the configuration of weights for a model that was named; weights of another model are an error."""
    if found is None:
        return {}
    config = _config_of(found)
    if config.get("model", spec.id) != spec.id:
        raise WeightsError(
            f"{found.path} holds weights of the model {config['model']!r}, not of {spec.id!r}; "
            f"name no model, or load it as {config['model']!r}"
        )
    return _without_model(config)


def _config_of(found: ResolvedWeights) -> dict[str, Any]:
    """Return what weights say of themselves: their header, or else the ``config.json`` beside them or on the hub."""
    metadata = read_metadata(found.path)
    said = metadata.get("identity", metadata)
    if "model" in said:
        return {**said.get("config", {}), "model": said["model"]}
    beside: Path | None = found.path.with_name(CONFIG)
    if found.origin.startswith("hub:"):
        beside = _config_on_hub(found.origin)
    return _read_config(beside) if beside is not None and is_file(beside) else {}


def _config_on_hub(origin: str) -> Path | None:
    """Return the configuration of the commit that weights are of, where it has one."""
    repository, commit = parse_hub_address(origin)
    try:
        return download(repository, CONFIG, commit).path
    except NotInRepositoryError:
        return None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path)
        if not isinstance(config, dict):
            raise ValueError("it is no JSON object")
        if not isinstance(config.get("model", ""), str):
            raise ValueError("its 'model' is no text")
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"cannot read {path}: {error}; restore it, or move it away and name the model (--model NAME)"
        ) from error
    return config


def _without_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the factory's keyword arguments of a configuration: all but model, training and weights."""
    return {key: value for key, value in config.items() if key not in ("model", "training", "weights")}
