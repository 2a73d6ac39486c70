"""Which fusekit this is: its version, that of the doors for plugins, a checkout's commit, a digest of code."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path

__version__ = "0.1.0"
#: Of what `fusekit.extend` and `fusekit.testing` promise: major and minor number.
plugin_api_version = (1, 3)


def code_version() -> str:
    """Return the checkout's commit, with ``+changes`` where tracked files differ from it, or else fusekit's version."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return f"fusekit {__version__}"
    commit, changes = _git(root, "rev-parse", "--short=12", "HEAD"), _git(root, "status", "--porcelain", "-uno")
    if commit is None or changes is None:
        return f"fusekit {__version__}"
    return f"{commit}+changes" if changes else commit


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or ``None`` where it is not installed or fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def code_digest(module: str, *, alone: bool = False) -> str:
    """Return a digest of the code in the folder of a module, so that what was computed with other code is known.

    Args:
        module: name of an imported module; without a file, as in a notebook, the digest is that of its name.
        alone: take the module's file only.
    """
    path = getattr(sys.modules.get(module), "__file__", None)
    files = [] if path is None else [Path(path)] if alone else sorted(Path(path).parent.glob("*.py"))
    digest = hashlib.sha256(module.encode())
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def package_digest(module: str) -> str:
    """Return a digest of all code of the top-level package that an imported module belongs to, folders within included.

    A module outside any package, as in a notebook, counts alone.
    """
    name = module.partition(".")[0]
    folders = [Path(each) for each in getattr(sys.modules.get(name), "__path__", ())]
    if not folders:
        return code_digest(module, alone=True)
    digest = hashlib.sha256(name.encode())
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
