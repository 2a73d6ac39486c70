"""``fusekit``: the group of commands, and how errors and warnings reach the terminal."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from typing import Any

import click

from fusekit.errors import FusekitError, FusekitWarning, one_line
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
_PURPOSEFUL = (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError, FusekitError, MemoryError)


class LazyGroup(click.Group):
    """A group whose commands, our own and those of plugins, are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *(name for name in registries().commands.names() if name not in _COMMANDS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except _PURPOSEFUL:
            raise
        except Exception:
            name, commands = ctx.invoked_subcommand, registries().commands
            if name is None or name not in commands:
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
                rows.append((name, entry.summary or f"(of {entry.owner})"))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fusekit")
def main() -> None:
    """Fuse registered medical images of one patient into one.

    \b
    fusekit demo                                      fuse the embedded sample pair
    fusekit fuse CT.png MRI.png -o fused.png          fuse your own
    fusekit list models                               see what is there
    """


def run() -> None:
    """Run the command line; errors are one line on standard error and exit code 2."""
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", FusekitWarning)
    # It logs every oddity of a damaged file; what matters of it comes as our one line.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        code = main(standalone_mode=False)
    except FusekitError as error:
        _say(f"error: {one_line(error)}")
        code = 2
    except click.ClickException as error:
        _say(f"error: {' '.join(error.format_message().split())}{_help_hint(error)}")
        code = 2
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        code = 130
    except MemoryError:
        _say("error: the memory of this machine does not suffice")
        code = 2
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`; a second error while closing helps nobody.
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str) -> None:
    click.echo(f"fusekit: {text}", err=True)


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if isinstance(context, click.Context) else ""


def _show_warning(message: Warning | str, category: type[Warning], *details: Any, **more: Any) -> None:
    """Print our own warnings as one line; leave out other libraries' unless Python was asked to show them."""
    if issubclass(category, FusekitWarning):
        _say(f"warning: {' '.join(str(message).split())}")
    elif sys.warnoptions:
        click.echo(warnings.formatwarning(message, category, *details[:2]), err=True, nl=False)
