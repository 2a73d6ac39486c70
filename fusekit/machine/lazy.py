"""Names that a module hands on: each is imported from where it is defined when it is first asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def hand_on(module: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and the ``__dir__`` (PEP 562) of a module that hands on what others define.

    Args:
        module: the module's ``__name__``.
        names: by module of fusekit, without the leading ``fusekit.``: names that it defines, parted by blanks.

    Returns:
        both functions; the first raises `AttributeError` for a name that is not handed on.
    """
    home_of = {name: f"fusekit.{home}" for home, defined in names.items() for name in defined.split()}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home_of[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[module]), *home_of})

    return get, names_of
