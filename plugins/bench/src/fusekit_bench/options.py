"""Commands made of requests: each choice stands once, as a field with its default, its help and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from fusekit.cli.options import WholeNumber
from fusekit.cli.output import Command
from fusekit.errors import OptionError
from fusekit.options import whole_number

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Request = TypeVar("_Request")


def choice(default: Any, text: str, /, *, read: Callable[[str], Any] | None = None, **of_click: Any) -> Any:
    """Return a field that `options_of` makes an option of.

    A tuple as default makes an option that takes several values, ``True`` one that is called ``--no-NAME``; unless
    ``of_click`` says otherwise, the default is shown.

    Args:
        default: of the field; where there is no value for it, `dataclasses.MISSING`.
        text: help.
        read: makes a value of a text; an `OptionError` or a `ValueError` where it cannot.
        of_click: further arguments of the option.
    """
    return field(default=default, metadata={"help": text, "read": read, "click": of_click})


class ListsCommand(Command):
    """A command without arguments whose list options take their values also as ``--option a b c``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        lists = {name for each in self.params if isinstance(each, _ListOption) for name in each.opts}
        spelled: list[str] = []
        option = ""
        for argument in args:
            if argument.startswith("-"):
                option = argument if argument in lists else ""
            elif option and spelled[-1] != option:
                spelled.append(option)
            spelled.append(argument)
        return super().parse_args(ctx, spelled)


class _ListOption(click.Option):
    """An option that gives a tuple of texts, by spaces, commas or repetition."""


def _split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for value in values for part in value.split(",") if part)


def options_of(request: type) -> Callable[[_Function], _Function]:
    """Return what adds an option for each field of a request that is a `choice`."""

    def add(command: _Function) -> _Function:
        for each in reversed([each for each in fields(request) if each.metadata]):
            command = _option(each)(command)
        return command

    return add


def _option(of: Field[Any]) -> Callable[[_Function], _Function]:
    flag, text, more = _flag(of), of.metadata["help"], dict(of.metadata["click"])
    if isinstance(of.default, tuple) and "default" not in more:
        several = f"{text} Several by spaces, commas or repetition."
        return click.option(flag, of.name, cls=_ListOption, multiple=True, callback=_split, help=several, **more)
    if of.default is True:
        return click.option(flag, of.name, is_flag=True, callback=lambda ctx, param, given: not given, help=text)
    if of.default is False:
        return click.option(flag, of.name, is_flag=True, help=text)
    if of.default is MISSING:
        return click.option(flag, of.name, required=True, help=text, **more)
    shown = {"default": of.default, "show_default": True} if of.default is not None else {}
    if more.get("type", type(of.default)) is int:
        more["type"] = WholeNumber()
    return click.option(flag, of.name, help=text, **{**shown, **more})


def _flag(of: Field[Any]) -> str:
    return f"--{'no-' if of.default is True else ''}{of.name.replace('_', '-')}"


def request_of(request: type[_Request], choices: Mapping[str, Any], **more: Any) -> _Request:
    """Return the request that the values of options describe.

    Raises:
        OptionError: a value cannot be read, or cannot be used.
    """
    given: dict[str, Any] = {}
    for each in fields(request):  # type: ignore[arg-type]
        value, read = choices.get(each.name), each.metadata.get("read")
        if each.name in choices and value is not None and value != ():
            given[each.name] = value if read is None else _read(read, value, _flag(each))
    return request(**{**given, **more})


def whole(text: str) -> int:
    """Return the number that a text says; a `ValueError` where it says none."""
    found = whole_number(text)
    if found is None:
        raise ValueError(text)
    return found


def _read(read: Callable[[str], Any], value: Any, flag: str) -> Any:
    try:
        return tuple(map(read, value)) if isinstance(value, tuple) else read(value)
    except ValueError:
        words = " ".join(value) if isinstance(value, tuple) else value
        raise OptionError(f"{flag} takes whole numbers, not {words!r}") from None


def command_line(context: click.Context) -> str:
    """Return the command as others would give it: what was chosen of its request, files by their last part."""
    words = [f"fusekit bench {context.info_name}"]
    for each in (each for each in context.command.params if each.expose_value):
        name = each.name or ""
        source, value = context.get_parameter_source(name), context.params.get(name)
        if source not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT) or name in _OUTPUTS:
            continue
        values = [] if isinstance(value, bool) else value if isinstance(value, tuple) else [value]
        metavar = each.metavar if isinstance(each, click.Option) else None
        parts = [_elsewhere(part, metavar) for part in values]
        if isinstance(value, tuple) and each.nargs == 1 and not isinstance(each, _ListOption):
            # An option that takes one value is repeated.
            words += [f"{each.opts[0]} {part}" for part in parts]
        else:
            words += [" ".join([each.opts[0], *parts])]
    return " ".join(words)


#: Parameters that say where a result goes, by which it does not change.
_OUTPUTS = ("output", "markdown", "json", "csv", "docs", "part", "plot", "figures", "jobs", "keep", "overwrite")


def _elsewhere(value: Any, metavar: str | None) -> str:
    """Return a value as it stands on another machine: a folder by what it is, a file by its last part."""
    if isinstance(value, Path):
        return metavar if metavar and value.is_dir() else value.name
    before, mark, path = str(value).rpartition("=")
    return f"{before}{mark}{Path(path).name}" if Path(path).is_absolute() or Path(path).exists() else str(value)
