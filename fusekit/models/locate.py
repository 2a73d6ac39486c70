"""From a name, a file or an address to a spec, a weights file and a configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusekit.errors import (
    OptionError,
    UnknownNameError,
    WeightsError,
)
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec
from fusekit.weights.hub import CONFIG, download
from fusekit.weights.resolve import (
    ResolvedWeights,
    from_hub,
    from_path,
    is_hub_address,
    parse_hub_address,
    resolve,
)
from fusekit.weights.store import read_metadata


def locate(
    name: str, weights: str | Path | None, modalities: Sequence[str] = ()
) -> tuple[ModelSpec, ResolvedWeights | None, dict[str, Any]]:
    """Return the spec, the weights file, and the configuration that stands beside or in the file."""
    # A file called ehdran.safetensors is a file, not the weights "safetensors" of ehdran.
    split = None if name.endswith(".safetensors") else _split_name(name)
    if split is not None:
        spec, tag = split
        if tag and weights is not None:
            raise OptionError(f"{name!r} names weights already; leave out either '.{tag}' or weights={str(weights)!r}")
        found = resolve(spec, tag or weights, modalities)
        return spec, found, _header_config(found, spec)
    path = Path(name)
    is_file = path.exists() or path.suffix == ".safetensors" or len(path.parts) > 1
    if weights is not None and (is_file or is_hub_address(name)):
        raise OptionError(
            f"{name!r} are weights already; leave out weights={str(weights)!r}, or name the model instead"
        )
    if is_hub_address(name):
        repository, revision = parse_hub_address(name)
        # Weights of the same commit, though the branch may move on between the two.
        file, commit = download(repository, CONFIG, revision)
        config = _read_config(file)
        return spec_of(_model_of(config, name)), from_hub(f"hub:{repository}@{commit}"), _without_model(config)
    if is_file:
        found = from_path(path)
        config = _config_of_file(found.path)
        return spec_of(_model_of(config, name)), found, _without_model(config)
    raise UnknownNameError("model", name, registries().models.names())


def spec_of(model: str) -> ModelSpec:
    """Return the registered spec of a model."""
    spec: ModelSpec = registries().models.entry(model).details["spec"]
    return spec


def _split_name(name: str) -> tuple[ModelSpec, str] | None:
    """Split ``model.tag`` at the longest registered model name; ``None`` where no prefix is one."""
    models = registries().models
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        head = ".".join(parts[:end])
        if head in models:
            return spec_of(head), ".".join(parts[end:])
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
        raise WeightsError(
            f"cannot read {path}: {error}; restore it or name the model (--model NAME --weights {path.parent})"
        ) from error
    return config if isinstance(config, dict) else {}


def _model_of(config: Mapping[str, Any], name: str) -> str:
    if not isinstance(config.get("model"), str):
        raise WeightsError(
            f"{name} does not say which model its weights belong to; name the model: --model NAME --weights {name}"
        )
    return str(config["model"])


def _without_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the factory's keyword arguments of a configuration: all but model, training and weights."""
    return {key: value for key, value in config.items() if key not in ("model", "training", "weights")}
