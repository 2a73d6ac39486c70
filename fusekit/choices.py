"""What the texts of some options say: ranges of values, and how a fused image is coloured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fusekit.errors import OptionError, UnknownNameError

#: Windows of CT in Hounsfield units, centre and width, as radiologists use them.
CT_WINDOWS = {
    "brain": (40.0, 80.0),
    "subdural": (75.0, 215.0),
    "stroke": (40.0, 40.0),
    "bone": (480.0, 2500.0),
    "soft-tissue": (50.0, 400.0),
    "liver": (30.0, 150.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
}
#: Colour maps of overlays, by their names.
COLOR_MAPS = ("hot", "pet", "rainbow", "gray")
_NUMBER = r"[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,3})?"
_FORMS = "auto, dtype, data, percentile:LOW:HIGH, LOW:HIGH, window:CENTER:WIDTH, window:NAME, folder or folder:LOW:HIGH"


class RangeChoice(NamedTuple):
    """Which stored values of a source are black and white.

    Attributes:
        kind: ``auto``, ``dtype``, ``data``, ``percentile``, ``limits`` or ``folder``.
        numbers: of the kind: percentages, stored values, or nothing.
    """

    kind: str
    numbers: tuple[float, float] | None = None


def parse_range(text: str) -> RangeChoice:
    """Return what a text says of a range.

    ``auto``; ``dtype``, the whole type; ``data``, the least and the greatest value; ``percentile:1:99.5``;
    ``LOW:HIGH``; ``window:CENTER:WIDTH``, or one of `CT_WINDOWS` by its name; ``folder``, the least and the greatest
    of all images of the folder, or ``folder:1:99.5``, percentages of them; ``folder@LOW:HIGH``, as it was found;
    ``auto@BITS``, the bits that were found to be stored in the images of a folder.

    Raises:
        OptionError: it says no such thing, or its numbers make no range.
    """
    given = str(text)
    if given in ("auto", "dtype", "data", "folder"):
        return RangeChoice(given)
    bits = re.fullmatch(r"auto@(8|10|12|14|16)", given)
    if bits:
        return RangeChoice("auto", (0.0, float((1 << int(bits[1])) - 1)))
    name, _, rest = given.partition(":")
    if name == "window" and rest in CT_WINDOWS:
        return _window(CT_WINDOWS[rest], given)
    if name == "window" and re.fullmatch(r"[a-z-]+", rest):
        raise UnknownNameError("window", rest, CT_WINDOWS)
    if name in ("percentile", "folder", "window"):
        numbers = _two_numbers(rest, given)
        if name == "window":
            return _window(numbers, given)
        if not 0 <= numbers[0] < numbers[1] <= 100:
            raise OptionError(f"the range {given!r} takes two percentages from 0 to 100, the lower one first")
        return RangeChoice(name, numbers)
    numbers = _two_numbers(given.removeprefix("folder@"), given)
    if not numbers[0] < numbers[1]:
        raise OptionError(f"the range {given!r} takes the lower value first")
    return RangeChoice("limits", numbers)


def _window(numbers: tuple[float, float], given: str) -> RangeChoice:
    center, width = numbers
    if not width > 0:
        raise OptionError(f"the range {given!r} has a width that is not above 0")
    return RangeChoice("limits", (center - width / 2, center + width / 2))


def _two_numbers(text: str, given: str) -> tuple[float, float]:
    found = re.fullmatch(f"({_NUMBER}):({_NUMBER})", text, re.ASCII)
    numbers = (float(found[1]), float(found[2])) if found else (math.nan, math.nan)
    # Values are stored in float32 at most.
    if not all(abs(each) < 3.4e38 for each in numbers):
        shown = given if len(given) <= 60 else f"{given[:57]}…"
        raise OptionError(f"{shown!r} is no range; choose {_FORMS}")
    return numbers


class ColorChoice(NamedTuple):
    """How a fused image is coloured.

    Attributes:
        mode: ``keep``, ``gray``, ``hue`` or ``overlay``.
        source: which source's colour, or which is laid over, from 1; ``None`` for what the sources suggest.
        color_map: of an overlay.
        alpha: its opacity, from 0 to 1.
    """

    mode: str
    source: int | None = None
    color_map: str = ""
    alpha: float = 1.0


def parse_color(text: str) -> ColorChoice:
    """Return what ``keep``, ``gray``, ``from:N``, ``hue``, ``hue:N`` or ``overlay:MAP[:ALPHA[:N]]`` says.

    Raises:
        OptionError: it says none of these.
    """
    head, *rest = str(text).split(":")
    try:
        if head in ("keep", "gray") and not rest:
            return ColorChoice(head)
        if head == "hue" and len(rest) <= 1:
            return ColorChoice("hue", _count(rest[0]) if rest else None)
        if head == "from" and len(rest) == 1:
            return ColorChoice("keep", _count(rest[0]))
        if head == "overlay" and 1 <= len(rest) <= 3:
            if rest[0] not in COLOR_MAPS:
                raise UnknownNameError("colour map", rest[0], COLOR_MAPS)
            alpha = _opacity(rest[1]) if len(rest) > 1 else 0.5
            return ColorChoice("overlay", _count(rest[2]) if len(rest) > 2 else None, rest[0], alpha)
    except ValueError:
        pass
    raise OptionError(
        f"unknown color {_short(text)!r}; choose keep, gray, from:N, hue or overlay:MAP[:ALPHA[:N]] with N counted "
        f"from 1, ALPHA above 0 and at most 1, and a MAP of {', '.join(COLOR_MAPS)}"
    )


def _opacity(text: str) -> float:
    if not re.fullmatch(r"[01]?\.\d{1,9}|1", text, re.ASCII) or not 0 < float(text) <= 1:
        raise ValueError("the opacity is above 0 and at most 1")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text, re.ASCII):
        raise ValueError("sources are counted from 1")
    return int(text)


def _short(text: Any) -> str:
    return str(text) if len(str(text)) <= 60 else f"{str(text)[:57]}…"


def for_each(
    texts: Sequence[str], sources: Sequence[Any], roles: Mapping[str, int], option: str, default: str
) -> list[str]:
    """Return what an option says of each source.

    Args:
        texts: one for all sources, or one a source in their order, or ``SOURCE=TEXT`` with a number from 1, a path or a
            role, which leaves the others at a text without a source, or at the default.
        sources: paths or whatever else.
        roles: the number of the source of each role, from 1.
        option: what messages call it.
        default: where nothing is said.

    Raises:
        OptionError: a text is for no source, or they are neither one nor as many as the sources.
    """
    plain, named = [], {}
    for text in texts:
        source, equals, rest = str(text).rpartition("=")
        if equals:
            number = number_of(source, sources, roles, option)
            if number in named:
                raise OptionError(f"{option} is given twice for source {number}; leave one out")
            named[number] = rest
        else:
            plain.append(str(text))
    if len(plain) not in (0, 1) and (named or len(plain) != len(sources)):
        raise OptionError(
            f"{option} is given {len(texts)} times, and there are {len(sources)} sources; give it once for all, once a "
            f"source, or as {option} SOURCE=…"
        )
    rest_of = plain if len(plain) == len(sources) else (plain or [default]) * len(sources)
    return [named.get(number, each) for number, each in enumerate(rest_of, start=1)]


def number_of(given: str, sources: Sequence[Any], roles: Mapping[str, int], option: str) -> int:
    """Return the number, from 1, of the source that is named by its number, its path or its role.

    Raises:
        OptionError: there is no such source.
    """
    paths = [str(each) for each in sources]
    if given in paths:
        return paths.index(given) + 1
    if given in roles:
        return roles[given]
    if re.fullmatch(r"[1-9]\d{0,5}", given, re.ASCII) and int(given) <= len(sources):
        return int(given)
    raise OptionError(f"{option} names {_short(given)!r}, which is none of the {len(sources)} sources; give its number")
