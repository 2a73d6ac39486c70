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
    """Add metrics: call ``register(name, "package.module:Class", direction="higher" or "lower", …)`` for each."""


@hookspec
def register_formats(register: Callable[..., None]) -> None:
    """Add formats of image files: call ``register(name, "package.module:Class", extensions=(".ext",), …)`` for each."""


@hookspec
def register_aligners(register: Callable[..., None]) -> None:
    """Add ways to bring sources onto one grid: call ``register(name, "package.module:Class", …)`` for each."""


@hookspec
def register_executors(register: Callable[..., None]) -> None:
    """Add executors of batches: call ``register(name, "package.module:Class", …)`` for each."""


@hookspec
def register_tasks(register: Callable[..., None]) -> None:
    """Add downstream tasks that fused images are judged by: call ``register(name, "package.module:Class", …)``."""


@hookspec
def register_commands(register: Callable[..., None]) -> None:
    """Add commands of ``fusekit``: call ``register(name, "package.module:command", summary=…)`` for each."""
