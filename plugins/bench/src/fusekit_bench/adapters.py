"""Other people's code, named on the command line, to be timed beside ours."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from fusekit.errors import OptionError


def import_attribute(target: str) -> Any:
    """Import ``module:attribute``; the module is looked for in the current folder too.

    Raises:
        OptionError: it is not of that form, or cannot be imported.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise OptionError(f"--against takes MODULE:ATTRIBUTE, not {target!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise OptionError(f"--against {target} cannot be imported: {type(error).__name__}: {error}") from error
