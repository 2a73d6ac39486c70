"""An executor and commands, each broken in one way."""

from __future__ import annotations

import sys
from typing import Any

import click

from fusekit.extend import Executor, Work


class Exits(Executor):
    """Ends the process as if all were well."""

    def run(self, work: Work, report: Any) -> Any:
        sys.exit(0)


def no_command() -> None:
    """Is a function and no command."""


@click.command()
def fails() -> None:
    """Fail."""
    raise KeyError("nothing of this name")
