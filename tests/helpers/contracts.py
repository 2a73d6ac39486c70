"""Registering components for a while, and what the checks of `fusekit.testing` are asked about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from fusekit import ModelSpec
from fusekit.extend import Joint
from fusekit.registry.discovery import registries
from fusekit.registry.registry import entry_of


@contextmanager
def registered(kind: str, component: Any, **facts: Any) -> Iterator[str]:
    """Register a class or a command for a while; ``kind`` is the registry's name; yield the component's name."""
    registry = getattr(registries(), kind)
    before = registry.snapshot()
    called = getattr(component, "__name__", None) or component.callback.__name__
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", called).lower()
    module = component.callback.__module__ if isinstance(component, click.Command) else component.__module__
    registry.registrar("a-test")(name, f"{module}:{called}", **facts)
    try:
        yield name
    finally:
        registry.restore(before)


@contextmanager
def registered_model(model: type, **facts: Any) -> Iterator[ModelSpec]:
    """Register a model as ``checked`` for a while; yield its spec."""
    spec, registry = spec_of(model, **facts), registries().models
    before = registry.snapshot()
    registry.add(entry_of(spec, "a-test"))
    try:
        yield spec
    finally:
        registry.restore(before)


def assert_said(findings: list[str], called: str, fact: str) -> None:
    """Assert that the findings name a component, and that one of them says what is wrong."""
    assert findings, f"{called} passes"
    assert all(called in each for each in findings), findings
    assert any(fact in each for each in findings), findings


def spec_of(model: type, **facts: Any) -> ModelSpec:
    """Return the spec of a model that takes any rule, or of one that has none to choose."""
    joint = issubclass(model, Joint)
    policy: dict[str, Any] = {"rule_policy": "joint"} if joint else {"default_rule": "mean"}
    return ModelSpec("checked", f"{model.__module__}:{model.__name__}", "a test", **{**policy, **facts})
