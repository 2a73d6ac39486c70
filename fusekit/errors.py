"""The errors that fusekit raises on purpose.

Every message says what was wrong, in which file or option, and what to do about it. The command line prints such an
error as one line on standard error and exits with code 2; Python users can catch `FusekitError` for all of them.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class FusekitError(Exception):
    """Base of all errors that fusekit raises on purpose."""


class InputError(FusekitError):
    """A source cannot be used: missing, unreadable, empty, too small, not finite, or of another size."""


class OutputError(FusekitError):
    """The result cannot be written as asked: folder, format, bit depth or permission."""


class OptionError(FusekitError):
    """An option or argument has a value that cannot be used."""


class DeviceError(OptionError):
    """The device, precision or backend asked for cannot serve on this machine."""


class RuleError(OptionError):
    """A fusion rule cannot be used with this model or these sources."""


class WeightsError(FusekitError):
    """Weights cannot be found, read, verified, or do not fit the model."""


class PluginError(FusekitError):
    """A plugin registered something that cannot be used."""


class DuplicateNameError(PluginError):
    """Two owners register one name; the message names both."""


class MissingExtraError(FusekitError):
    """A feature needs an optional extra that is not installed."""


class TrainingError(FusekitError):
    """Training cannot start, resume or go on."""


class MachineError(FusekitError):
    """The system refuses: memory, threads, open files, room on the disk, permissions, names that are too long."""


class UnknownNameError(OptionError):
    """A name is not in its registry; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str | None = None) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        message = f"unknown {kind} {name!r}"
        nearest = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        if nearest:
            message += "; did you mean " + " or ".join(repr(each) for each in nearest) + "?"
        elif self.known:
            shown = self.known if len(self.known) <= 20 else [*self.known[:20], "…"]
            message += "; known: " + ", ".join(shown)
        if remedy:
            message += f" ({remedy})"
        super().__init__(message)


class FusekitWarning(UserWarning):
    """Something works otherwise than one may expect: a plugin left out, weights used with another edge operator."""


class Doubt(NamedTuple):
    """A choice of which nobody but the user can say whether it is right: said in one line, and kept in the record.

    Attributes:
        kind: what is in doubt, a word; over a folder each kind is said once.
        text: the fact, and the option that settles it.
    """

    kind: str
    text: str


#: A message is cut in its middle beyond so many characters: its beginning names the file, its end the remedy.
_MOST = 2000


def plain(text: object) -> str:
    """Return text as it may be shown to people: what would act on a terminal or break a line stands as ``\\x1b``.

    Control characters, line ends, marks that turn the direction of writing, other invisible characters, and bytes of
    file names that are no text, are replaced; blanks of other widths become blanks.
    """
    said = str(text)
    if said.isprintable():
        return said
    return "".join(map(_visible, said))


def _visible(character: str) -> str:
    # Joiners are part of how some scripts are written.
    if character.isprintable() or character in "\u200c\u200d":
        return character
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode()


def one_line(error: BaseException) -> str:
    """Return the message of ``error`` on one line, with its type where the message is empty or not ours."""
    try:
        text = plain(" ".join(str(error).split()))
    # Errors of others may fail to say what they are.
    except Exception:
        text = ""
    if len(text) > _MOST:
        text = f"{text[: _MOST // 2]} … {text[-_MOST // 2 :]}"
    if isinstance(error, FusekitError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def size_text(size: Sequence[int]) -> str:
    """Return ``size`` as people write it: ``256×256``, height first."""
    return "×".join(str(side) for side in size)


def memory_text(memory: float) -> str:
    """Return an amount of memory as people write it."""
    return f"{memory / 2**30:.2f} GiB" if memory >= 2**30 else f"{memory / 2**20:.0f} MiB"


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first of several names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def count_of(things: Sequence[object], noun: str) -> str:
    """Return how many there are, as ``1 name`` or ``3 names``."""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
