"""What the user asked of every command: how much it says, and in which form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import click


@dataclass
class Asked:
    """The options that all commands have.

    Attributes:
        verbose: say more than the result: what was read, chosen and computed.
        quiet: say nothing but results and errors.
        traceback: show where an error came from.
        json: the result is printed as JSON, so that an error is too.
    """

    verbose: bool = False
    quiet: bool = False
    traceback: bool = False
    json: bool = False


#: Of the command that runs.
asked = Asked()

_COMMON = {
    ("-v", "--verbose"): "Say more: what was read, chosen and computed.",
    ("-q", "--quiet"): "Say nothing but results and errors.",
    ("--traceback",): "Show where an error came from; FUSEKIT_TRACEBACK=1 does so too.",
}


def begin(words: Sequence[str]) -> None:
    """Forget what was asked before; ``words`` is the command line."""
    asked.verbose = asked.quiet = False
    asked.traceback = os.environ.get("FUSEKIT_TRACEBACK", "") not in ("", "0")
    asked.json = "--json" in words


def add_common_options(command: click.Command) -> click.Command:
    """Add the options that all commands have to one, and to those within it; names that it has already stay its own."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_common_options(each)
    taken = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for flags, about in _COMMON.items():
        names = [name for name in flags if name not in taken]
        if flags[-1] in names:
            called = flags[-1][2:]
            option = click.Option(
                [*names, called], is_flag=True, expose_value=False, is_eager=True, callback=_ask, help=about
            )
            command.params.append(option)
    return command


def _ask(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        setattr(asked, str(option.name), True)
    if asked.verbose and asked.quiet:
        raise click.UsageError("--verbose says more and --quiet less; leave one of them out", ctx)


def prints_json(command: click.Command, words: Sequence[str]) -> bool:
    """Return whether the words ask a command to print JSON, though they may be wrong otherwise."""
    options = {name: each for each in command.params if isinstance(each, click.Option) for name in each.opts}
    rest = iter(words if "--json" in options else ())
    for word in rest:
        flag, is_given, value = word.partition("=")
        option = options.get(flag)
        if word == "--":
            return False
        if option is None:
            continue
        if flag != "--json":
            # The next words are its values, whatever they look like.
            for _ in range(0 if option.is_flag or is_given else option.nargs):
                next(rest, None)
        elif option.is_flag:
            return True
        else:
            return (value if is_given else next(rest, "-")).startswith("-")
    return False
