"""The tests on the oldest and the newest that fusekit supports: ``nox`` for both, ``nox -s lowest`` for one.

``make test`` is for daily work, on one Python and the versions of constraints.txt; this is for before a release, and
after a bound in pyproject.toml has moved. Each session makes a virtual environment of its own under ``.nox/``.
"""

from __future__ import annotations

import os

import nox

OLDEST, NEWEST = "3.10", "3.13"
EXTRAS = ".[train,bench]"
TOOLS = ("pytest>=8.2", "pytest-xdist>=3.8", "hatchling>=1.26", "tomli>=2.0; python_version < '3.11'")
PYTEST = ("python", "-m", "pytest", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")

nox.options.default_venv_backend = "venv"


def install(session: nox.Session, resolution: str) -> None:
    """Install the package with extras and test tools by uv, whose ``resolution`` picks the versions."""
    session.install("uv>=0.5")
    # The CPU's build of PyTorch, where its index can be reached; UV_TORCH_BACKEND= takes PyPI's.
    backend = os.environ.get("UV_TORCH_BACKEND", "cpu")
    torch = ("--torch-backend", backend) if backend else ()
    # uv refuses the variable where it is empty.
    environment = {"UV_TORCH_BACKEND": None}
    session.run_install(
        "uv", "pip", "install", "--resolution", resolution, *torch, "--editable", EXTRAS, *TOOLS, env=environment
    )


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """Run the tests on the oldest Python, with the lowest version of each direct dependency."""
    install(session, "lowest-direct")
    session.run(*PYTEST, *session.posargs)


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """Run the tests on the newest Python, with the newest version of each dependency."""
    install(session, "highest")
    session.run(*PYTEST, *session.posargs)
