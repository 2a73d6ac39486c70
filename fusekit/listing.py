"""What is registered, as plain data: for ``fusekit list``, for scripts, and for other programs through JSON."""

from __future__ import annotations

from typing import Any

from fusekit.registry.discovery import registries
from fusekit.registry.registry import Registry

KINDS = (
    "models",
    "encoders",
    "decoders",
    "edges",
    "rules",
    "metrics",
    "formats",
    "aligners",
    "executors",
    "tasks",
    "commands",
    "weights",
    "plugins",
)


def list_models() -> list[dict[str, Any]]:
    """Return the registered models, each with name, summary, owner, citation, rule policy and weights."""
    rows = []
    for entry in registries().models:
        spec = entry.details["spec"]
        rows.append(
            {
                **_row(entry),
                "rules": {"free": "any", "bound": "its own", "joint": "none"}[spec.rule_policy],
                "default_rule": spec.default_rule,
                "weights": [each.tag for each in spec.weights],
                "sources": list(spec.n_sources),
                "licence": spec.licence,
            }
        )
    return rows


def list_encoders() -> list[dict[str, Any]]:
    """Return the registered encoders, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().encoders)


def list_decoders() -> list[dict[str, Any]]:
    """Return the registered decoders, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().decoders)


def list_edges() -> list[dict[str, Any]]:
    """Return the registered edge operators, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().edge_operators)


def list_rules() -> list[dict[str, Any]]:
    """Return the registered fusion rules, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().fusion_rules)


def list_metrics() -> list[dict[str, Any]]:
    """Return the registered metrics: ``name``, ``summary``, ``owner``, ``citation``, ``direction`` and ``optional``.

    ``direction`` is ``"higher"`` or ``"lower"``, whichever values are better; an ``optional`` metric needs weights of
    its own, so that no set has it.
    """
    return [
        {
            **_row(entry),
            "direction": entry.details["direction"],
            "optional": entry.details.get("optional", False),
        }
        for entry in registries().metrics
    ]


def list_formats() -> list[dict[str, Any]]:
    """Return the formats of image files, each with what the others have, and ``extensions``."""
    return [{**_row(entry), "extensions": list(entry.details.get("extensions", ()))} for entry in registries().formats]


def list_aligners() -> list[dict[str, Any]]:
    """Return the registered aligners, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().aligners)


def list_executors() -> list[dict[str, Any]]:
    """Return the registered executors, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().executors)


def list_tasks() -> list[dict[str, Any]]:
    """Return the registered tasks, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().tasks)


def list_commands() -> list[dict[str, Any]]:
    """Return the registered commands, each with ``name``, ``summary``, ``owner`` and ``citation``."""
    return _rows(registries().commands)


def list_weights() -> list[dict[str, Any]]:
    """Return all weights that models name: ``name``, ``summary``, ``owner``, ``where``, ``licence`` and ``sha256``."""
    from fusekit.weights.resolve import find_bundled

    rows = []
    for entry in registries().models:
        spec = entry.details["spec"]
        for weights in spec.weights:
            bundled = find_bundled(spec.id, weights.file) is not None
            where = "bundled" if bundled else f"hub:{weights.hub}" if weights.hub else "missing"
            rows.append(
                {
                    "name": f"{spec.id}.{weights.tag}",
                    "summary": weights.summary,
                    "owner": entry.owner,
                    "citation": entry.citation,
                    "where": where,
                    "licence": weights.licence,
                    "sha256": weights.sha256,
                }
            )
    return rows


def list_plugins() -> list[dict[str, Any]]:
    """Return the plugins found: ``name``, ``summary`` (or what went wrong), ``owner``, ``version``, ``error``."""
    return [
        {
            "name": report.name,
            "summary": f"left out: {report.error}" if report.error else report.target,
            "owner": report.distribution,
            "citation": "",
            "version": report.version,
            "error": report.error,
        }
        for report in registries().reports
    ]


def listing(kind: str) -> list[dict[str, Any]]:
    """Return the rows of one of `KINDS`."""
    functions = {
        "models": list_models,
        "encoders": list_encoders,
        "decoders": list_decoders,
        "edges": list_edges,
        "rules": list_rules,
        "metrics": list_metrics,
        "formats": list_formats,
        "aligners": list_aligners,
        "executors": list_executors,
        "tasks": list_tasks,
        "commands": list_commands,
        "weights": list_weights,
        "plugins": list_plugins,
    }
    return functions[kind]()


def _row(entry: Any) -> dict[str, Any]:
    return {"name": entry.name, "summary": entry.summary, "owner": entry.owner, "citation": entry.citation}


def _rows(registry: Registry) -> list[dict[str, Any]]:
    return [_row(entry) for entry in registry]
