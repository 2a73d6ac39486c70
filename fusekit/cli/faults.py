"""The boundary of the command line: whatever a command raises becomes one line, a kind and an exit code."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import click

from fusekit import errors
from fusekit.cli import output
from fusekit.cli.asked import asked
from fusekit.errors import FusekitError, one_line, plain
from fusekit.machine.faults import as_ours

#: Exit codes; `fusekit --help` and docs/command-line.md say the same.
FINE, PARTLY, REFUSED, OWN_FAULT, INTERRUPTED = 0, 1, 2, 70, 130


class Fault(NamedTuple):
    """What became of a command that failed.

    Attributes:
        kind: name of an error of `fusekit.errors`; ``UsageError`` for a command line that cannot be understood,
            ``Interrupted``, or ``InternalError``.
        message: one line for people.
        code: of the exit.
    """

    kind: str
    message: str
    code: int


def fault_of(error: BaseException) -> Fault:
    """Return what to say of anything that was raised."""
    if isinstance(error, click.ClickException):
        said = plain(" ".join(error.format_message().split()))
        return Fault("UsageError", f"{said}{_help_hint(error)}", REFUSED)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return Fault("Interrupted", "interrupted", INTERRUPTED)
    ours = as_ours(error)
    if ours is not None:
        return Fault(_kind_of(ours), one_line(ours), REFUSED)
    return Fault(
        "InternalError",
        f"fusekit has a fault of its own ({one_line(error)}); run again with --traceback, and report what that "
        "shows to its maintainers",
        OWN_FAULT,
    )


def tell(error: BaseException) -> int:
    """Say what was raised: its line, its traceback where that was asked for, and JSON where the result was to be JSON.

    Returns:
        the exit code.
    """
    fault = fault_of(error)
    if asked.traceback and fault.code != INTERRUPTED:
        output.show_traceback(error)
    output.say(fault.message if fault.code == INTERRUPTED else f"error: {fault.message}")
    if asked.json and not output.printed():
        found = {"kind": fault.kind, "message": fault.message, "exit_code": fault.code}
        # Where that cannot be written either, the exit code says it.
        with contextlib.suppress(OSError, FusekitError):
            output.result_json({"error": found})
    return fault.code


def _kind_of(error: FusekitError) -> str:
    """Return the nearest class of `fusekit.errors`, of which alone the documentation tells."""
    return next(each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__)


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if isinstance(context, click.Context) else ""
