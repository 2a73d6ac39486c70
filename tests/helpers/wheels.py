"""Wheels, built and installed into virtual environments of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of a source tree into a folder, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    before = set(folder.glob("*.whl"))
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = set(folder.glob("*.whl")) - before
    return built


def _unguided() -> dict[str, str]:
    """Return the variables of this process without those that say how Python, pip or fusekit are to work."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "FUSEKIT", "VIRTUAL_ENV"))}


class Environment:
    """A new virtual environment whose own site-packages comes before the running interpreter's."""

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        self.folder = folder
        # This interpreter's pip installs for it, which takes less than to give it one.
        venv.create(folder)
        # Before Python 3.11 environments had no scheme of their own.
        scheme = "venv" if "venv" in sysconfig.get_scheme_names() else sysconfig.get_default_scheme()
        paths = sysconfig.get_paths(scheme=scheme, vars={"base": str(folder), "platbase": str(folder)})
        self.scripts = Path(paths["scripts"])
        self.packages = Path(paths["purelib"])
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.scripts / "python",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", *wheels], check=True, env=_unguided())
        # A plain path: .pth files in there, such as an editable install's, are not processed again.
        outer = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
        (self.packages / "outer.pth").write_text("\n".join(outer) + "\n")

    def run(
        self, command: str, *arguments: str | Path, given: str = "", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in its folder, with text as its standard input; it ends with ``code``."""
        done = subprocess.run(
            [self.scripts / command, *arguments],
            cwd=self.folder,
            env={**_unguided(), "COLUMNS": "200", "PYTHONNOUSERSITE": "1"},
            input=given,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done
