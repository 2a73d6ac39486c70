"""Registries of named components, filled by plugins and read by name.

A registry holds *entries*, not classes: the target is a string ``"package.module:attribute"`` that is imported when the
component is first asked for, so that listing a hundred components costs no heavy import.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fusekit.errors import DuplicateNameError, MissingExtraError, PluginError, UnknownNameError
from fusekit.registry.specs import ModelSpec

_NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class Entry:
    """One registered component.

    Attributes:
        name: what users type, lower case, words joined by ``-``, a variant behind ``.``.
        target: ``"package.module:attribute"``, imported on first use.
        summary: one line for listings.
        owner: the distribution, or else the plugin, that registered it.
        citation: the paper that defines it, or an empty string.
        details: further facts for listings; for a model, its `ModelSpec` under ``"spec"``.
    """

    name: str
    target: str
    summary: str
    owner: str
    citation: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def entry_of(spec: ModelSpec, owner: str) -> Entry:
    """Return the entry of a model."""
    return Entry(spec.id, spec.factory, spec.summary, owner, spec.citation, {"spec": spec})


class Registry:
    """Named components of one kind.

    Args:
        kind: singular noun for messages, such as ``"fusion rule"``.
        facts: names of the further keywords that ``register`` takes for this kind.
        check: is called with each entry before it is added, and raises `PluginError` where its facts are wrong.
    """

    def __init__(self, kind: str, facts: tuple[str, ...] = (), check: Callable[[Entry], None] | None = None) -> None:
        self.kind, self.facts, self._check = kind, facts, check
        self._entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Add ``entry``.

        Raises:
            DuplicateNameError: the name is taken; the message names both owners.
            PluginError: the name, the target or a further fact has not the right form.
        """
        if not _NAME.fullmatch(entry.name):
            raise PluginError(
                f"{entry.owner} registers a {self.kind} named {entry.name!r}; "
                "names are lower-case letters and digits, joined by '-' or '.'"
            )
        if not isinstance(entry.target, str) or not _TARGET.fullmatch(entry.target):
            raise PluginError(
                f"{entry.owner} registers the {self.kind} {entry.name!r} as {entry.target!r}; "
                "give a string 'package.module:attribute', so that listing stays light"
            )
        if self._check is not None:
            self._check(entry)
        taken = self._entries.get(entry.name)
        if taken is not None:
            raise DuplicateNameError(
                f"the {self.kind} {entry.name!r} is registered by both {taken.owner} and {entry.owner}; "
                f"{taken.owner} keeps the name: uninstall one of them, or leave one out of FUSEKIT_PLUGINS"
            )
        self._entries[entry.name] = entry

    def registrar(self, owner: str) -> Callable[..., None]:
        """Return the ``register`` function that a plugin's hook is given, bound to its owner.

        It takes a name and a target with their facts; a `Registry` of models takes one `ModelSpec` instead.
        """

        def register_spec(spec: ModelSpec) -> None:
            if not isinstance(spec, ModelSpec):
                raise PluginError(f"{owner} registers a model as {type(spec).__name__}; pass a fusekit.ModelSpec")
            self.add(entry_of(spec, owner))

        def register(name: str, target: str, *, summary: str = "", citation: str = "", **details: Any) -> None:
            unknown = next((key for key in details if key not in self.facts), None)
            if unknown is not None:
                known = ("summary", "citation", *self.facts)
                nearest = difflib.get_close_matches(unknown, known, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}"
                raise PluginError(
                    f"{owner} registers the {self.kind} {name!r} with {unknown!r}, which is no keyword; {hint}"
                )
            self.add(Entry(name, target, summary, owner, citation, details))

        return register_spec if self.kind == "model" else register

    def snapshot(self) -> dict[str, Entry]:
        """Return a copy of the entries, to go back to with `restore`."""
        return dict(self._entries)

    def restore(self, entries: dict[str, Entry]) -> None:
        """Replace all entries by those of an earlier `snapshot`."""
        self._entries = dict(entries)

    def names(self) -> list[str]:
        """Return all names in alphabetical order."""
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[name] for name in self.names())

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, name: str) -> Entry:
        """Return the entry called ``name``.

        Raises:
            UnknownNameError: there is none; the nearest names are suggested.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None

    def load(self, name: str) -> Any:
        """Import and return what ``name`` stands for.

        Raises:
            UnknownNameError: there is no such name.
            PluginError: its module or attribute cannot be imported.
        """
        return import_target(self.entry(name), self.kind)


def _check_packages(entry: Entry, kind: str) -> None:
    spec = entry.details.get("spec")
    required = [name for name in spec.requires if name != "cuda"] if isinstance(spec, ModelSpec) else []
    missing = next((name for name in required if importlib.util.find_spec(name) is None), None)
    if isinstance(spec, ModelSpec) and missing is not None:
        remedy = f"pip install '{entry.owner}[{spec.extra}]'" if spec.extra else "install it"
        raise MissingExtraError(
            f"the {kind} {entry.name!r} needs the package {missing!r}, which is not installed; {remedy}"
        )


def import_target(entry: Entry, kind: str) -> Any:
    """Import ``entry.target`` and return the attribute; a failure names the owner and the cause.

    Raises:
        MissingExtraError: a model requires a package that is not installed.
        PluginError: the module or its attribute cannot be imported.
    """
    _check_packages(entry, kind)
    module_name, _, attribute = entry.target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    # A module of a plugin may raise anything as it is imported, SystemExit included.
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the {kind} {entry.name!r} of {entry.owner} cannot be imported from {entry.target!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return found
