"""What the reference page says of classes of options: their fields with the help that stands there, by griffe.

The help stands in the fields' metadata, from which `fusekit.options.documented` makes the docstring; reading the source
alone would not find it. ``mkdocs.yml`` names this file.
"""

from __future__ import annotations

import importlib
from typing import Any

import griffe


class OptionFields(griffe.Extension):
    """Take the docstrings of classes under ``@documented`` from the classes, not from their source."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Replace the docstring of a class of options."""
        if any("documented" in str(decorator.value) for decorator in cls.decorators):
            found = getattr(importlib.import_module(cls.module.path), cls.name)
            cls.docstring = griffe.Docstring(found.__doc__, parent=cls)
