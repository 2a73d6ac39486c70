"""The hooks by which a plugin adds to fusekit; each is called once, with a ``register`` function to call."""

from __future__ import annotations

from collections.abc import Callable

import pluggy

hookspec = pluggy.HookspecMarker("fusekit")
hookimpl = pluggy.HookimplMarker("fusekit")


@hookspec
def register_models(register: Callable[..., None]) -> None:
    """Add fusion models: call ``register(ModelSpec(...))`` for each."""


@hookspec
def register_encoders(register: Callable[..., None]) -> None:
    """Add encoders: call ``register(name, "package.module:Class", summary=..., citation=...)`` for each."""


@hookspec
def register_decoders(register: Callable[..., None]) -> None:
    """Add decoders: call ``register(name, "package.module:Class", summary=..., citation=...)`` for each."""


@hookspec
def register_edge_operators(register: Callable[..., None]) -> None:
    """Add edge operators: call ``register(name, "package.module:Class", summary=..., citation=...)`` for each."""


@hookspec
def register_fusion_rules(register: Callable[..., None]) -> None:
    """Add fusion rules: call ``register(name, "package.module:Class", summary=..., citation=...)`` for each."""


@hookspec
def register_metrics(register: Callable[..., None]) -> None:
    """Add metrics: call ``register(name, "package.module:Class", summary=..., citation=...)`` for each."""
