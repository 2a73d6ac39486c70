"""The tests on the oldest and the newest that fusekit supports, and those of each plugin on its own wheel.

``make test`` is for daily work, on one Python and the versions of constraints.txt; this is for before a release, and
after a bound in a pyproject.toml has moved: ``nox`` for all, ``nox -s lowest`` for one. Each session makes a virtual
environment of its own under ``.nox/``.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
OLDEST, NEWEST = "3.10", "3.13"
EXTRAS = ".[train,bench]"
TOOLS = ("pytest>=8.2", "pytest-xdist>=3.8", "hatchling>=1.26", "tomli>=2.0; python_version < '3.11'")
PYTEST = ("python", "-m", "pytest", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")

nox.options.default_venv_backend = "venv"


def install(session: nox.Session, *what: str) -> None:
    """Install by uv, which the session has, into the session's environment or the one that ``what`` names."""
    # The CPU's build of PyTorch, where its index can be reached; UV_TORCH_BACKEND= takes PyPI's.
    backend = os.environ.get("UV_TORCH_BACKEND", "cpu")
    torch = ("--torch-backend", backend) if backend else ()
    # uv refuses the variable where it is empty.
    session.run_install("uv", "pip", "install", *torch, *what, env={"UV_TORCH_BACKEND": None})


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """Run the tests on the oldest Python, with the lowest version of each direct dependency."""
    session.install("uv>=0.5")
    install(session, "--resolution", "lowest-direct", "--editable", EXTRAS, *TOOLS)
    session.run(*PYTEST, *session.posargs)


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """Run the tests on the newest Python, with the newest version of each dependency."""
    session.install("uv>=0.5")
    install(session, "--resolution", "highest", "--editable", EXTRAS, *TOOLS)
    session.run(*PYTEST, *session.posargs)


@nox.session
def plugins(session: nox.Session) -> None:
    """Build each plugin, or those named behind ``--``, and run its tests beside a fusekit that brings no plugin."""
    chosen = session.posargs or PLUGINS
    if unknown := set(chosen) - set(PLUGINS):
        session.error(f"no plugin is called {', '.join(sorted(unknown))}; there are {', '.join(PLUGINS)}")
    session.install("uv>=0.5")
    with tempfile.TemporaryDirectory(prefix="fusekit-plugins-") as name:
        folder = Path(name)
        core = build_core(session, folder)
        # Those that others name as dependencies are found among all.
        for plugin in PLUGINS:
            session.run(
                "uv", "build", "--quiet", "--wheel", "--out-dir", str(folder / "wheels"), str(ROOT / "plugins" / plugin)
            )
        failed = [plugin for plugin in chosen if not passes(session, plugin, core, folder / plugin)]
    if failed:
        session.error(f"these do not pass: {', '.join(failed)}")


def build_core(session: nox.Session, folder: Path) -> Path:
    """Build the wheel of the package ``fusekit`` without what pyproject.toml says of plugins, and return its path."""
    shutil.copytree(ROOT / "fusekit", folder / "core" / "fusekit", ignore=shutil.ignore_patterns("__pycache__"))
    for each in ("LICENSE", "README.md"):
        shutil.copy(ROOT / each, folder / "core")
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    of_plugins = re.compile(r'\s*"(plugins/|weights[/"])|\w+ = "fusekit_\w+\.plugin"')
    kept = "".join(line for line in lines if not of_plugins.match(line))
    (folder / "core" / "pyproject.toml").write_text(kept, encoding="utf-8")
    session.run("uv", "build", "--quiet", "--wheel", "--out-dir", str(folder / "wheels"), str(folder / "core"))
    (wheel,) = (folder / "wheels").glob("fusekit_imaging-*.whl")
    return wheel


def passes(session: nox.Session, plugin: str, core: Path, folder: Path) -> bool:
    """Return whether a plugin's tests pass in a new environment in ``folder``, with no checkout beside them."""
    (wheel,) = core.parent.glob(f"fusekit_{plugin}-*.whl")
    shutil.copytree(ROOT / "plugins" / plugin / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    if plugin == "bench":  # It measures the rooms, and is tested with the helpers of their tests.
        shutil.copytree(ROOT / "tests" / "helpers", folder / "helpers")
    session.run("uv", "venv", "--quiet", "--python", str(Path(session.bin) / "python"), str(folder / "environment"))
    tools = ("--python", str(folder / "environment"), "--quiet", "--find-links", str(core.parent), "pytest-xdist>=3.8")
    install(session, *tools, str(core), f"fusekit-{plugin}[test] @ {wheel.as_uri()}")
    scripts = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    clean = {name: None for name in os.environ if name.startswith(("PYTHON", "FUSEKIT"))}
    tests = (*PYTEST, "-ra", "-W", "ignore::pytest.PytestUnknownMarkWarning")
    with session.chdir(folder):
        try:
            for program, *arguments in (("fusekit", "list", "plugins"), tests):
                session.run(str(scripts / program), *arguments, env=clean, external=True)
        except CommandFailed:
            return False
    return True
