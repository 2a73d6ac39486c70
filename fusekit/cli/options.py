"""Options of commands, made of the fields of option classes."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import click

from fusekit.errors import OptionError
from fusekit.machine.parsing import parse_json
from fusekit.options import DEFAULT_MODEL, whole_number

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Options = TypeVar("_Options")


if TYPE_CHECKING:
    # Older versions of click say nothing of what a type converts to.
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType


class WholeNumber(_Type):
    """A whole number of ASCII digits, of which 18 are enough for everything that is counted."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = whole_number(value)
        if found is None:
            self.fail(f"{value!r} is not a valid integer.", param, ctx)
        return found


class FiniteNumber(_Type):
    """A number that is neither infinite nor NaN."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        # Python takes other digits and underscores too.
        try:
            found = float(value) if re.fullmatch(r"[-+.0-9e]+", str(value), re.IGNORECASE) else math.nan
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a valid float.", param, ctx)
        return found


_NUMBERS: dict[type, _Type] = {int: WholeNumber(), float: FiniteNumber()}

#: Every command that takes a model takes it by this option.
model_option = click.option(
    "--model", help=f"A model, or model.weights; by default the one that --weights names, or {DEFAULT_MODEL}."
)


def options_of(option_class: type, *names: str) -> Callable[[_Function], _Function]:
    """Return what adds options for the fields of an option class, all or those named, in their order."""
    found = {each.name: each for each in fields(option_class) if flag_of(each)}
    hints = get_type_hints(option_class)

    def add(command: _Function) -> _Function:
        for name in reversed(names or tuple(found)):
            command = _option(found[name], hints[name])(command)
        return command

    return add


def made_of(option_class: type[_Options], choices: Mapping[str, Any], **more: Any) -> _Options:
    """Return the value of an option class that a command's options say; ``more`` are fields that no option gives.

    Raises:
        FusekitError: of the class, for values that cannot be used.
    """
    hints = get_type_hints(option_class)
    given = {}
    for each in fields(option_class):  # type: ignore[arg-type]
        if flag_of(each) and each.name in choices:
            given[each.name] = _value_of(each, hints[each.name], choices[each.name])
    return option_class(**given, **more)


def flag_of(field: Field[Any]) -> str | None:
    """Return the option of a field, as ``--bit-depth``; ``None`` for a field that commands do not offer."""
    name = field.metadata.get("name")
    if "help" not in field.metadata or name == "":
        return None
    return f"--{name or field.name.replace('_', '-')}"


def _option(field: Field[Any], hint: Any) -> Callable[[_Function], _Function]:
    """Return the option of a field, by its type: a flag, a number, a text, or one that may be repeated."""
    flag, about = str(flag_of(field)), field.metadata
    common: dict[str, Any] = {"help": about["help"], "metavar": about["metavar"]}
    if get_origin(hint) in (Mapping, Sequence):
        return click.option(flag, field.name, multiple=True, **common)
    default = None if field.default is MISSING else field.default
    if isinstance(default, bool):
        both = f"{flag}/--no-{flag[2:]}" if default else flag
        return click.option(both, field.name, is_flag=True, default=default, show_default=default, help=about["help"])
    number = next((_NUMBERS[each] for each in (hint, *get_args(hint)) if each in _NUMBERS), None)
    takes_text = str in (hint, *get_args(hint)) or number is None
    kind = click.Choice(about["choices"]) if about["choices"] else str if takes_text else number
    return click.option(flag, field.name, type=kind, default=default, show_default=default is not None, **common)


def _value_of(field: Field[Any], hint: Any, given: Any) -> Any:
    """Return the value of a field from what its option was given."""
    if get_origin(hint) is Mapping:
        return parse_pairs(given, str(flag_of(field)), as_text=get_args(hint)[1] is not Any)
    if get_origin(hint) is Sequence:
        return tuple(
            each for text in given for each in (text.split(",") if field.metadata["commas"] else [text]) if each
        )
    return given


def parse_pairs(pairs: Sequence[str], option: str, *, as_text: bool = False) -> dict[str, Any]:
    """Turn ``key=value`` texts into a dictionary; values are read as JSON, lists may be written ``1,3,5``.

    Args:
        pairs: the texts.
        option: what they were given to.
        as_text: leave keys and values as they are.

    Raises:
        OptionError: a text has no ``=``, or what stands behind it is JSON that `parse_json` refuses.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise OptionError(f"{option} takes KEY=VALUE, not {reprlib.repr(pair)}")
        if as_text:
            parsed[key] = text
        else:
            parsed[key.replace("-", "_")] = _value(text, f"{option} {key[:50]}")
    return parsed


def _value(text: str, option: str) -> Any:
    """Return what a text is as JSON, or a list of what stands between its commas, or else the text itself."""
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        if "," in text:
            return [_value(part.strip(), option) for part in text.split(",")]
        return text
    except ValueError as error:
        raise OptionError(f"{option}: the value cannot be used: {error}; give a simpler one") from error
