"""Options that take several values, by spaces, commas or repetition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class ListsCommand(click.Command):
    """A command without arguments whose list options take their values also as ``--option a b c``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        lists = {name for each in self.params if isinstance(each, ListOption) for name in each.opts}
        spelled: list[str] = []
        option = ""
        for argument in args:
            if argument.startswith("-"):
                option = argument if argument in lists else ""
            elif option and spelled[-1] != option:
                spelled.append(option)
            spelled.append(argument)
        return super().parse_args(ctx, spelled)


class ListOption(click.Option):
    """An option of `list_option`."""


def list_option(name: str, metavar: str, text: str) -> Callable[[Any], Any]:
    """Return what adds an option that gives a tuple of texts."""
    return click.option(
        name,
        cls=ListOption,
        multiple=True,
        callback=_split,
        metavar=metavar,
        help=f"{text} Several by spaces, commas or repetition.",
    )


def _split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for value in values for part in value.split(",") if part)
