"""Patterns of file names: what is common to the names of one scene where each folder adds something of its own."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product

from fusekit.errors import OptionError
from fusekit.images.files import known_extensions, split_extension

#: More stars than this could make a name take long to match.
_MOST_STARS = 3
#: Names of a folder that a proposal is made of.
_LOOKED_AT = 50
#: Endings of them that are tried.
_TRIED = 20
_SEPARATORS = "_-. "


@dataclass(frozen=True)
class Pattern:
    """What the files of one folder are called: ``{}`` stands for what a name has in common with those of other folders.

    Attributes:
        text: with one ``{}``, which takes as little as it can, and up to three ``*``, which stand for anything. It is
            of the whole name where it ends with the extension of an image, and of the name without it otherwise.

    Raises:
        OptionError: the text has not one ``{}``, or more stars.
    """

    text: str = "{}"

    def __post_init__(self) -> None:
        if self.text.count("{}") != 1:
            raise OptionError(f"--match {self.text!r} needs {{}} once, for what the names have in common, as '{{}}_CT'")
        if self.text.count("*") > _MOST_STARS:
            raise OptionError(f"--match {self.text!r} has more than {_MOST_STARS} stars; leave some out")
        if "/" in self.text or (os.sep != "/" and os.sep in self.text):
            raise OptionError(
                f"--match {self.text!r} is of names, not of paths; name the folder itself, and match in it"
            )

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        parts = re.split(r"(\{\}|\*)", normal(self.text))
        made = {"{}": "(.+?)", "*": ".*"}
        return re.compile("".join(made.get(part) or re.escape(part) for part in parts), re.DOTALL)

    @cached_property
    def _of_whole_names(self) -> bool:
        return not self.text.endswith("{}") and split_extension(self.text, known_extensions()) is not None

    def common(self, name: str) -> str | None:
        """Return what a file's name has in common, in Unicode's form NFC, or ``None`` where it does not fit.

        Args:
            name: with its extension.
        """
        found = self._expression.fullmatch(normal(name) if self._of_whole_names else stem_of(name))
        return found[1] if found is not None else None


#: Takes the whole name but its extension.
WHOLE = Pattern()


def patterns_of(match: Sequence[str], count: int) -> tuple[Pattern, ...]:
    """Return the pattern of each of ``count`` folders; that of whole names where none is given.

    Raises:
        OptionError: there is not one a folder, or one is no pattern.
    """
    if isinstance(match, str):
        raise OptionError(f"match takes a list with a pattern a folder, not {match!r}")
    if not match:
        return (WHOLE,) * count
    if len(match) != count:
        times = "once" if len(match) == 1 else f"{len(match)} times"
        raise OptionError(f"--match is given {times} for {count} folders; give it for each, in their order")
    return tuple(Pattern(text) for text in match)


def normal(text: str) -> str:
    """Return a text in Unicode's form NFC: file systems and programs write one name in several forms."""
    return unicodedata.normalize("NFC", text)


def stem_of(name: str) -> str:
    """Return a file's name in form NFC without its extension, if that is one of an image, and otherwise whole."""
    split = split_extension(name, known_extensions())
    return normal(split[0] if split is not None and split[0] else name)


def extension_of(name: str) -> str:
    """Return the extension of an image's name as it is written there, or nothing."""
    split = split_extension(name, known_extensions())
    return name[len(split[0]) :] if split is not None and split[0] else ""


def proposed(folders: Sequence[Iterable[str]]) -> tuple[str, ...] | None:
    """Return patterns, one a folder, by which names without extension would match, or ``None`` where none is obvious.

    Names differ obviously where each folder adds its own to their end, or to their beginning (``p01_CT``, ``p01_MR``),
    and more than half of them would match; all of them where the parts differ in digits alone, which may be slices.
    """
    names = [set(folder) for folder in folders]
    fewest = min(map(len, names))
    best: tuple[int, tuple[int, int], tuple[str, ...]] = (0, (0, 0), ())
    for at_end in (True, False):
        # What stands at the beginning is looked at from behind.
        turned = [names if at_end else {name[::-1] for name in names} for names in names]
        for endings in _endings(turned):
            count = len(set.intersection(*map(_without, turned, endings)))
            if 2 * count > fewest and (_differ_in_letters(endings) or count == fewest > 1):
                patterns = tuple(f"{{}}{each}" if at_end else f"{each[::-1]}{{}}" for each in endings)
                best = max(best, (count, _quality(endings), patterns))
    return best[2] if best[0] else None


def _endings(folders: Sequence[set[str]]) -> Iterator[tuple[str, ...]]:
    """Yield endings, one a folder, in which names differ; those that many names have come first."""
    first, *others = (sorted(folder) for folder in folders)
    counted = [_differing(first, other) for other in others]
    common = Counter(own for each in counted for own, _ in each.elements())
    for own, _ in common.most_common(_TRIED):
        found = [own]
        for each, other in zip(counted, others, strict=True):
            theirs = Counter({ending: count for (mine, ending), count in each.items() if mine == own})
            if theirs:
                found.append(
                    max((ending for ending, _ in theirs.most_common(_TRIED)), key=partial(_shared, first, own, other))
                )
        if len(found) == len(folders):
            yield tuple(found)


def _differing(ours: Sequence[str], theirs: Sequence[str]) -> Counter[tuple[str, str]]:
    """Return how often names of two folders, the first ones of each, differ in nothing but two endings."""
    found: Counter[tuple[str, str]] = Counter()
    for own, other in product(ours[:_LOOKED_AT], theirs[:_LOOKED_AT]):
        differs = (place for place, (a, b) in enumerate(zip(own, other, strict=False)) if a != b)
        same = next(differs, min(len(own), len(other)))
        separator = max(own.rfind(each, 0, same + 1) for each in _SEPARATORS)
        for cut in {separator, same}:
            if cut > 0 and own[cut:] != other[cut:]:
                found[own[cut:], other[cut:]] += 1
    return found


def _differ_in_letters(endings: Sequence[str]) -> bool:
    """Return whether several endings differ in more than digits and signs."""
    kept = [min(endings), max(endings)]
    for _ in range(2):
        # What all begin with, and, from behind, what all end with.
        same = next((place for place, letters in enumerate(zip(*kept, strict=False)) if len(set(letters)) > 1), None)
        kept = [each[len(min(kept, key=len)) if same is None else same :][::-1] for each in kept]
    return any(letter.isalpha() for each in kept for letter in each)


def _without(names: Iterable[str], ending: str) -> set[str]:
    return {name[: len(name) - len(ending)] for name in names if name.endswith(ending) and name != ending}


def _shared(ours: Sequence[str], own: str, theirs: Sequence[str], ending: str) -> int:
    return len(_without(ours, own) & _without(theirs, ending))


def _quality(endings: Sequence[str]) -> tuple[int, int]:
    """Return what is the greater the better: how many begin with a separator, and how short they are."""
    return sum(not each or each[0] in _SEPARATORS for each in endings), -sum(map(len, endings))
