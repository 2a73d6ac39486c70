"""Discovery of plugins through the entry-point group ``fusekit``.

A plugin is a module (or object) with functions marked ``@fusekit.hookimpl``. One that cannot be imported, or that
registers a name twice, is left out whole and reported: by one warning line, by ``fusekit list plugins`` and, with its
traceback, by ``fusekit doctor --tracebacks``. Everything else keeps working.

The environment variable ``FUSEKIT_PLUGINS`` restricts loading to the entry points that it names, separated by commas;
empty, it leaves out all of them. The built-in components are always there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from fusekit.errors import FusekitWarning, PluginError, one_line
from fusekit.registry import hooks as hookspecs
from fusekit.registry.registry import Entry, Registry

GROUP = "fusekit"
BUILTIN_OWNER = "fusekit-imaging"
#: The built-in components are found by name, as everybody else's are.
_BUILTIN = "fusekit.builtin"


@dataclass(frozen=True)
class PluginReport:
    """How the loading of one plugin went.

    Attributes:
        name: entry-point name.
        distribution: the installed distribution that declares it, with its version.
        target: module that the entry point names.
        error: one line, empty where all went well.
        traceback: the full traceback of ``error``.
    """

    name: str
    distribution: str
    version: str
    target: str
    error: str = ""
    traceback: str = ""


class Registries:
    """All registries, and how the plugins that filled them fared."""

    def __init__(self) -> None:
        self.models = Registry("model")
        self.encoders = Registry("encoder")
        self.decoders = Registry("decoder")
        self.edge_operators = Registry("edge operator")
        self.fusion_rules = Registry("fusion rule")
        self.metrics = Registry("metric", ("direction", "optional"), _check_metric)
        self.formats = Registry("format", ("extensions",))
        self.aligners = Registry("aligner")
        self.executors = Registry("executor")
        self.tasks = Registry("task")
        self.commands = Registry("command")
        self.reports: list[PluginReport] = []

    def by_hook(self) -> dict[str, Registry]:
        """Return each hook's name with the registry that it fills."""
        return {
            "register_models": self.models,
            "register_encoders": self.encoders,
            "register_decoders": self.decoders,
            "register_edge_operators": self.edge_operators,
            "register_fusion_rules": self.fusion_rules,
            "register_metrics": self.metrics,
            "register_formats": self.formats,
            "register_aligners": self.aligners,
            "register_executors": self.executors,
            "register_tasks": self.tasks,
            "register_commands": self.commands,
        }


def _check_metric(entry: Entry) -> None:
    """Check that a metric says which values are better, so that tables can say so before its code is imported."""
    given = entry.details.get("direction")
    if given not in ("higher", "lower"):
        said = "without a direction" if given is None else f"with the direction {given!r}"
        raise PluginError(
            f"{entry.owner} registers the metric {entry.name!r} {said}; say which values are better: "
            'direction="higher" or direction="lower"'
        )
    optional = entry.details.get("optional", False)
    if not isinstance(optional, bool):
        raise PluginError(
            f"{entry.owner} registers the metric {entry.name!r} with optional={optional!r}; give True or False"
        )


@cache
def registries() -> Registries:
    """Return the registries, loading all plugins on the first call; each plugin left out is warned of in one line."""
    found = load_plugins()
    absent = _wanted() - {report.name for report in found.reports}
    if absent:
        warnings.warn(
            f"FUSEKIT_PLUGINS names {', '.join(sorted(absent))}, which no installed package declares",
            FusekitWarning,
            stacklevel=2,
        )
    for report in found.reports:
        if report.error:
            warnings.warn(
                f"the plugin {report.name!r} of {report.distribution} is left out: {report.error} "
                "('fusekit doctor --tracebacks' shows more)",
                FusekitWarning,
                stacklevel=2,
            )
    return found


def load_plugins(points: list[EntryPoint] | None = None) -> Registries:
    """Fill new registries with the built-in components and then with each plugin's.

    Args:
        points: entry points to load instead of the installed ones.
    """
    manager = pluggy.PluginManager("fusekit")
    manager.add_hookspecs(hookspecs)
    found = Registries()
    _call_hooks(manager, importlib.import_module(_BUILTIN), "builtin", BUILTIN_OWNER, found)
    for point in _chosen(_installed() if points is None else points):
        found.reports.append(_load_one(manager, point, found))
    return found


def _installed() -> list[EntryPoint]:
    """Return the entry points of the group, our own distribution's first, then by distribution and name."""

    def order(point: EntryPoint) -> tuple[bool, str, str]:
        distribution = _distribution(point)
        return distribution != BUILTIN_OWNER, distribution, point.name

    unique = {(_distribution(point), point.name, point.value): point for point in entry_points(group=GROUP)}
    return sorted(unique.values(), key=order)


def _chosen(points: list[EntryPoint]) -> list[EntryPoint]:
    if "FUSEKIT_PLUGINS" not in os.environ:
        return points
    return [point for point in points if point.name in _wanted()]


def _wanted() -> set[str]:
    """Return the entry points that ``FUSEKIT_PLUGINS`` names."""
    return {name.strip() for name in os.environ.get("FUSEKIT_PLUGINS", "").split(",") if name.strip()}


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.name


def _load_one(manager: pluggy.PluginManager, point: EntryPoint, found: Registries) -> PluginReport:
    """Import one plugin and let it register; undo all of its registrations if any of them fails."""
    distribution = _distribution(point)
    version = point.dist.version if point.dist is not None else ""
    before = {hook: registry.snapshot() for hook, registry in found.by_hook().items()}
    error, trace = "", ""
    try:
        # Standard output belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            plugin = point.load()
            _call_hooks(manager, plugin, f"{distribution}:{point.name}", distribution, found)
    # A plugin's import may raise anything, SystemExit included; none of it may stop the others.
    except (Exception, SystemExit) as failure:
        error, trace = one_line(failure), traceback.format_exc()
        for hook, registry in found.by_hook().items():
            registry.restore(before[hook])
    return PluginReport(point.name, distribution, version, point.value, error, trace)


def _call_hooks(manager: pluggy.PluginManager, plugin: Any, name: str, owner: str, found: Registries) -> None:
    """Register ``plugin`` with pluggy and call its hooks alone, so that its errors are its own."""
    known_as = manager.get_name(plugin)
    if known_as is not None:
        raise PluginError(f"it is loaded already, as {known_as}; keep one of the distributions that declare it")
    manager.register(plugin, name=name)
    unknown = [hook for hook in _marked(plugin) if hook not in found.by_hook()]
    if unknown:
        raise PluginError(
            f"{owner} implements the hook {unknown[0]!r}, which this version of fusekit does not have; "
            f"hooks: {', '.join(found.by_hook())}"
        )
    others = [each for each in manager.get_plugins() if each is not plugin]
    for hook, registry in found.by_hook().items():
        caller = manager.subset_hook_caller(hook, remove_plugins=others)
        caller(register=registry.registrar(owner))


def _marked(plugin: Any) -> list[str]:
    """Return the names of the functions of ``plugin`` that carry the ``hookimpl`` mark."""
    return [name for name in dir(plugin) if getattr(getattr(plugin, name, None), "fusekit_impl", None)]
