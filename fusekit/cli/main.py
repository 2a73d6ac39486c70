"""``fusekit``: the group of commands, and how errors and warnings reach the terminal."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import warnings
from typing import Any

import click

from fusekit.cli import asked, faults, output
from fusekit.errors import FusekitError, FusekitWarning, one_line, plain
from fusekit.machine.faults import as_ours
from fusekit.registry.contract import calling, fault, registered
from fusekit.registry.discovery import registries
from fusekit.version import __version__

_COMMANDS = {
    "fuse": "fusekit.cli.fuse:fuse",
    "demo": "fusekit.cli.demo:demo",
    "evaluate": "fusekit.cli.evaluate:evaluate",
    "list": "fusekit.cli.list:list_",
    "weights": "fusekit.cli.weights:weights",
    "train": "fusekit.cli.train:train",
    "doctor": "fusekit.cli.doctor:doctor",
}

#: What a command raises to end in good order, or for whoever called it.
_PURPOSEFUL = (click.ClickException, click.Abort, click.exceptions.Exit, FusekitError, MemoryError)
#: What click raises, since its version 8.2, for a group without a command: its message is the help.
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
_EXIT_CODES = """
Exit codes: 0 done; 1 some of several images failed, the others are done; 2 refused, one line says why; 70 a fault of
fusekit's own; 130 interrupted. With --json, an error is JSON on standard output too.
"""


class _ReaderGoneError(Exception):
    """The reader of our output has gone, as with ``| head``; of a `BrokenPipeError` click makes the exit code 1."""


class LazyGroup(output.Group):
    """A group whose commands, our own and those of plugins, are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        with output.results_only():
            registries()
        return [*_COMMANDS, *(name for name in registries().commands.names() if name not in _COMMANDS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        with output.results_only():
            found = self._found(name)
        return None if found is None else asked.add_common_options(found)

    def _found(self, name: str) -> click.Command | None:
        """Import a command; what plugins print meanwhile is no result."""
        if name in _COMMANDS:
            module, _, attribute = _COMMANDS[name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        commands = registries().commands
        if name not in commands:
            return None
        found = commands.load(name)
        if not isinstance(found, click.Command):
            what = "None" if found is None else f"an object of type {type(found).__name__}"
            raise fault(registered(commands, name), f"is {what}", "register a click.Command")
        return found

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **more)
        except BrokenPipeError:
            raise _ReaderGoneError from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGoneError from None
        except _PURPOSEFUL:
            raise
        except Exception as error:
            name, commands = ctx.invoked_subcommand, registries().commands
            if name is None or name not in commands or as_ours(error) is not None:
                raise
            with calling(registered(commands, name)):
                raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; plugins' by their summaries, so that none of their code can spoil it."""
        rows = []
        for name in self.list_commands(ctx):
            if name in _COMMANDS:
                command = self.get_command(ctx, name)
                rows.append((name, "" if command is None else command.get_short_help_str()))
            else:
                entry = registries().commands.entry(name)
                rows.append((name, plain(entry.summary) or f"(of {plain(entry.owner)})"))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_EXIT_CODES,
)
@click.version_option(__version__, prog_name="fusekit")
def main() -> None:
    """Fuse registered medical images of one patient into one.

    \b
    fusekit demo                                      fuse the embedded sample pair
    fusekit fuse CT.png MRI.png -o fused.png          fuse your own
    fusekit list models                               see what is there
    """


asked.add_common_options(main)


def run() -> None:
    """Run the command line and end the process with its exit code; an error is one line on standard error."""
    asked.begin(sys.argv[1:])
    output.begin()
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", FusekitWarning)
    threading.excepthook = _show_fault_of_thread
    # It logs every oddity of a damaged file; what matters of it comes as our one line.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    sys.exit(_exit_code())


def _exit_code() -> int | str:
    try:
        try:
            code = main(prog_name="fusekit", standalone_mode=False)
        except SystemExit as stop:
            # So rich ends where the reader of the output has gone.
            if isinstance(stop.__context__, BrokenPipeError):
                raise _ReaderGoneError from None
            code = stop.code
        output.end()
        return code if isinstance(code, (int, str)) else faults.FINE
    except (_ReaderGoneError, BrokenPipeError):
        output.give_up()
        return faults.FINE
    except _NO_ARGUMENTS as error:
        output.write_error(f"{error.format_message()}\n")
        return faults.REFUSED
    # A plugin may raise what is no Exception too.
    except BaseException as error:
        return faults.tell(error)


def _show_warning(message: Warning | str, category: type[Warning], *details: Any, **more: Any) -> None:
    """Print our own warnings as one line; leave out other libraries' unless Python was asked to show them."""
    if issubclass(category, FusekitWarning):
        output.warn(" ".join(str(message).split()))
    elif sys.warnoptions:
        output.write_error(warnings.formatwarning(message, category, *details[:2]))


def _show_fault_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Tell in one line of a thread that failed, one of a plugin say, which stops nothing else."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        if asked.asked.traceback:
            output.show_traceback(failed.exc_value)
        output.warn(f"a thread failed: {one_line(failed.exc_value)}")
