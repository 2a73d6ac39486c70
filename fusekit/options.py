"""Every choice once: what it is called, what it defaults to, and what it means, for Python, commands and records.

The help stands at the field. Keywords of `fusekit.load`, `fusekit.fuse` and `fusekit.fuse_folders`, the options of the
commands and the entries of records are all made from these classes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from fusekit.choices import parse_color, parse_range
from fusekit.errors import OptionError, UnknownNameError

#: The model that is taken where none is named.
DEFAULT_MODEL = "ehdran"
#: The most pixels that an image may have unless more are allowed: 134 million.
MAX_PIXELS = 1 << 27
#: So many sources are fused without asking; more are more often a mistake than not, such as all slices of one folder.
MOST_SOURCES = 4
BIT_DEPTHS = {"8": "uint8", "16": "uint16", "float": "float32"}

_Options = TypeVar("_Options")
_Class = TypeVar("_Class", bound=type)


def choice(
    default: Any,
    help: str,
    *,
    name: str | None = None,
    metavar: str | None = None,
    choices: Sequence[str] | None = None,
    commas: bool = True,
) -> Any:
    """Return the field of an option class.

    Args:
        default: what is taken where nothing is chosen.
        help: one or two sentences, with units and ranges.
        name: of the command's option, where it is not the field's name; empty for a field that no command offers.
        metavar: what the command's help calls the value.
        choices: all values that there are.
        commas: whether an option that takes several values also takes them with commas between.
    """
    metadata = {"help": help, "name": name, "metavar": metavar, "choices": choices, "commas": commas}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def matching() -> Any:
    """Return the field for patterns of file names, which every command has that matches the images of folders."""
    return choice(
        (),
        "What the names of one scene have in common: a pattern a folder, as '{}_CT', with {} for it and * for anything "
        "else; repeatable. Whole names without extension by default.",
        metavar="PATTERN",
        commas=False,
    )


def documented(option_class: _Class) -> _Class:
    """Add the help of the fields to a class's docstring, where ``help()`` and editors show it."""
    lines = [f"    {each.name}: {each.metadata['help']}" for each in fields(option_class) if "help" in each.metadata]
    option_class.__doc__ = "\n".join([inspect.cleandoc(option_class.__doc__ or ""), "", "Attributes:", *lines])
    return option_class


@documented
@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How `fusekit.load` loads a model, and what computes it."""

    weights: str | Path | None = choice(
        None,
        "Weights: a tag, a safetensors file, a folder, a run of training, or hub:OWNER/NAME[@REVISION], any with "
        "#sha256=DIGEST behind it; the model's default without.",
    )
    modality: str | Sequence[str] | None = choice(
        None,
        "What the sources show, in their order, as ct,mri or pet,mri: chooses the weights that were trained on it.",
        metavar="LIST",
    )
    edge: str | None = choice(None, "Edge operator in place of the one that the weights were trained with.")
    encoder_options: Mapping[str, Any] = choice(
        {}, "Option of the encoder, by its name; repeatable.", name="encoder-option", metavar="KEY=VALUE"
    )
    device: str = choice("auto", "auto (a CUDA device if there is one), cpu, cuda or cuda:N.")
    dtype: str = choice(
        "float32", "float32, bfloat16, float16, or auto: bfloat16 where it is native and keeps 50 dB against float32."
    )
    form: str = choice("fastest", "fastest (that needs no compiler), plain, or another form that the model has.")
    backend: str = choice(
        "auto", "auto (Triton kernels on a GPU where the model has them, else torch), torch or triton."
    )

    def __post_init__(self) -> None:
        check_mappings(self)


@documented
@dataclass(frozen=True, kw_only=True)
class FuseOptions:
    """How images are fused by a model that is loaded."""

    # A name or a `fusekit.extend.FusionRule`; that class imports torch.
    rule: Any = choice(None, "Fusion rule, by name or, in Python, as an object; the model's own by default.")
    rule_options: Mapping[str, Any] = choice(
        {}, "Option of the rule, by its name; repeatable.", name="rule-option", metavar="KEY=VALUE"
    )
    range: Sequence[str] = choice(
        (),
        "Stored values of a source that are black and white: auto, dtype, data, percentile:1:99.5, LOW:HIGH, "
        "window:CENTER:WIDTH, window:brain (bone, lung, …) or, with --pairs, folder; once for all sources, once a "
        "source, or SOURCE=RANGE. auto without.",
        metavar="RANGE",
        commas=False,
    )
    invert: Sequence[str] = choice(
        (), "Source whose black is white: its number from 1, its path or its role; repeatable.", metavar="SOURCE"
    )
    nan: str = choice(
        "refuse",
        "Values that are NaN, infinite or masked: refuse, or background (the least value of the image).",
        choices=("refuse", "background"),
    )
    color: str = choice(
        "keep",
        "keep (the chroma of the source in colour), gray, from:N (of source N, counted from 1), hue (hue and "
        "saturation kept where it becomes lighter), or overlay:MAP[:ALPHA[:N]] (a grey source through the colour map "
        "hot, pet, rainbow or gray).",
    )
    align: str = choice(
        "refuse", "Sources of other sizes: refuse, first (resample to the first one's), or a registered aligner."
    )
    bit_depth: str | None = choice(None, "8, 16 or float; the first source's by default.")
    many: bool = choice(False, f"Fuse more than {MOST_SOURCES} sources into one image.")
    tile: str | int = choice(
        "auto", "auto (where the whole may take more than the memory), off, or the side of tiles, 16 pixels or more."
    )
    memory: str | int | None = choice(
        None,
        "What fusing may take, as 2GiB, beside Python and the images; above it images are fused in tiles. 2 GiB on a "
        "CPU and half of what is free on a CUDA device by default.",
    )
    roles: Mapping[str, str | int] = choice(
        {},
        "What a source is to a model that tells them apart: its path, or its number from 1; repeatable. By their "
        "order without.",
        name="role",
        metavar="ROLE=SOURCE",
    )
    page: int | None = choice(
        None, "Which image of files that hold several (stacks, animations), counted from 1.", metavar="NUMBER"
    )
    max_pixels: int = choice(
        MAX_PIXELS, "The most pixels that an image file may have, checked before memory is taken.", metavar="NUMBER"
    )

    def __post_init__(self) -> None:
        parse_color(self.color)
        for name in ("range", "invert"):
            object.__setattr__(self, name, as_texts(getattr(self, name), name))
        for text in self.range:
            parse_range(text.rpartition("=")[2])
        check_nan(self.nan)
        if self.bit_depth is not None and str(self.bit_depth) not in BIT_DEPTHS:
            raise OptionError(f"unknown bit depth {self.bit_depth!r}; choose {', '.join(BIT_DEPTHS)}")
        tile, memory = parse_tile(self.tile), parse_memory(self.memory)
        if tile == "off" and memory is not None:
            raise OptionError("memory decides when to fuse in tiles, and tile is off; leave one of the two out")
        check_reading(self.page, self.max_pixels)
        check_mappings(self)

    def depth(self, of_first: str) -> str:
        """Return the depth to write: what was asked for, or the first source's, as ``uint8``."""
        return BIT_DEPTHS[str(self.bit_depth)] if self.bit_depth is not None else of_first


@documented
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How folders of images are gone through."""

    names: str | Path | None = choice(
        None, "With --pairs: fuse only these; a file with a name a line, or FILE.json#/key/key.", metavar="FILE"
    )
    match: Sequence[str] = matching()
    record: bool = choice(True, "Write the record, OUT.json, beside the output.")
    overwrite: bool = choice(False, "Replace what is there already.")
    workers: int | None = choice(
        None, "With --pairs: sets fused at once, 1 or more; what suits the device by default.", metavar="NUMBER"
    )
    executor: str = choice("threads", "With --pairs: what works the sets off: threads, or a registered executor.")
    report: Callable[[Any], None] | None = choice(
        None, "Called after each set, in the order in which they end.", name=""
    )

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"{self.workers} workers cannot fuse; choose 1 or more")


class LoadChoices(TypedDict, total=False):
    """The fields of `LoadOptions` as keywords."""

    weights: str | Path | None
    modality: str | Sequence[str] | None
    edge: str | None
    encoder_options: Mapping[str, Any]
    device: str
    dtype: str
    form: str
    backend: str


class FuseChoices(TypedDict, total=False):
    """The fields of `FuseOptions` as keywords."""

    rule: Any
    rule_options: Mapping[str, Any]
    range: Sequence[str]
    invert: Sequence[str]
    nan: str
    color: str
    align: str
    bit_depth: str | None
    many: bool
    tile: str | int
    memory: str | int | None
    roles: Mapping[str, str | int]
    page: int | None
    max_pixels: int


class RunChoices(TypedDict, total=False):
    """The fields of `RunOptions` as keywords."""

    names: str | Path | None
    match: Sequence[str]
    record: bool
    overwrite: bool
    workers: int | None
    executor: str
    report: Callable[[Any], None] | None


class Choices(LoadChoices, FuseChoices):
    """What `fusekit.fuse` takes as keywords."""


class FolderChoices(LoadChoices, FuseChoices, RunChoices):
    """What `fusekit.fuse_folders` takes as keywords."""


def overridden(
    option_class: type[_Options], options: _Options | None, choices: Mapping[str, Any], *others: type
) -> _Options:
    """Return ``options`` (the defaults, for ``None``) overruled by those of the ``choices`` that are its fields.

    Args:
        option_class: of the options.
        options: one of these.
        choices: keywords.
        others: classes whose fields the other choices are.

    Raises:
        UnknownNameError: a choice is a field of none of them; the message suggests the nearest.
        OptionError: a value cannot be used, or ``options`` are something else.
    """
    if options is None:
        options = option_class()
    if not isinstance(options, option_class):
        raise OptionError(f"options are given as {option_class.__name__} or as keywords, not as {options!r}")
    known = {each.name: kind for kind in (*others, option_class) for each in fields(kind)}
    for name in choices:
        if name not in known:
            raise UnknownNameError("option", name, known)
    own = {name: value for name, value in choices.items() if known[name] is option_class}
    return replace(options, **own)  # type: ignore[type-var]


def default_of(option_class: type, name: str) -> Any:
    """Return what a field is where nothing is chosen."""
    found = next(each for each in fields(option_class) if each.name == name)
    return found.default_factory() if found.default_factory is not MISSING else found.default


def chosen_names(options: Any) -> list[str]:
    """Return the names of the fields that are not as they are where nothing is chosen."""
    kind = type(options)
    return [each.name for each in fields(kind) if getattr(options, each.name) != default_of(kind, each.name)]


def as_asked(options: Any) -> dict[str, Any]:
    """Return the fields that commands offer as they were asked for, JSON-able: paths and objects as texts."""
    return {each.name: _plain(getattr(options, each.name)) for each in fields(options) if each.metadata["name"] != ""}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def check_mappings(options: Any) -> None:
    """Raise `OptionError` where a field of keyword arguments holds something else."""
    for each in fields(options):
        if each.default_factory is not MISSING and not isinstance(getattr(options, each.name), Mapping):
            raise OptionError(f"{each.name} takes a mapping of names to values, not {getattr(options, each.name)!r}")


def check_nan(nan: str) -> None:
    """Raise `OptionError` for a choice of what becomes of values that are no numbers that cannot be."""
    if nan not in ("refuse", "background"):
        raise OptionError(f"unknown choice {nan!r} for nan; choose refuse or background")


def check_reading(page: int | None, max_pixels: int) -> None:
    """Raise `OptionError` for choices of how image files are read that cannot be: whole numbers of 1 or more."""
    for name, number in (("page", page), ("max_pixels", max_pixels)):
        if (number is None and name != "page") or (number is not None and (type(number) is not int or number < 1)):
            raise OptionError(f"{name} takes a whole number of 1 or more, not {number!r}")


def as_texts(given: object, name: str) -> tuple[str, ...]:
    """Return what a repeatable option holds, one text or several, as texts.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(given, (str, int, Path)):
        return (str(given),)
    if not isinstance(given, (list, tuple)):
        raise OptionError(f"{name} takes a text, or a list of texts, not {given!r}")
    return tuple(map(str, given))


_UNITS = {"": 1, "B": 1} | {
    f"{letter}{infix}B": base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("KMGT", start=1)
}


def whole_number(given: object) -> int | None:
    """Return a whole number, or what a text of ASCII digits says; ``None`` for anything else and beyond 18 digits."""
    if isinstance(given, int):
        return int(given) if abs(given) < 10**18 else None
    text = str(given).strip()
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def parse_memory(given: str | int | None) -> int | None:
    """Return a number of bytes: an integer, or a text such as ``2GiB``, ``1.5 GB`` or ``800MiB``.

    Raises:
        OptionError: it is not such an amount, or not above 0.
    """
    if given is None:
        return None
    found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{0,18})?)\s*([KMGT]?i?B?)\s*", str(given), re.IGNORECASE)
    units = {unit.lower(): size for unit, size in _UNITS.items()}
    unit = found[2].lower() if found else "?"
    unit = unit if unit.endswith("b") or not unit else f"{unit}b"
    if found is None or unit not in units or not int(float(found[1]) * units[unit]):
        raise OptionError(f"{given!r} is not an amount of memory; give it as 2GiB, 800MiB or a number of bytes")
    return int(float(found[1]) * units[unit])


def parse_tile(given: str | int) -> str | int:
    """Return ``auto``, ``off`` or the side of tiles in pixels.

    Raises:
        OptionError: it is none of these, or a side below 16.
    """
    if given in ("auto", "off"):
        return given
    side = whole_number(given)
    if side is None or side < 16:
        raise OptionError(f"{given!r} is no choice of tiles; choose auto, off, or a side of 16 pixels or more")
    return side
