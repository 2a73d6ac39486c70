"""Folders of images: what they hold, and which of their files belong together."""

from __future__ import annotations

import shlex
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from fusekit.cases.case import Case
from fusekit.cases.names import listed
from fusekit.cases.patterns import WHOLE, Pattern, extension_of, patterns_of, proposed, stem_of
from fusekit.cases.splits import series_of
from fusekit.errors import FusekitWarning, InputError, OptionError, count_of, some
from fusekit.images.files import known_extensions, split_extension
from fusekit.machine.files import is_file, is_folder, same_file, stat_of, why


def images_in(folder: Path, pattern: Pattern = WHOLE) -> dict[str, Path]:
    """Return the image files directly in ``folder`` by what ``pattern`` finds in their names, in alphabetical order.

    An image is told by its extension, in capitals or not. Names are taken whole but for it, and compared in Unicode's
    form NFC. Files whose names begin with a dot are hidden, and left out, as are those that do not fit the pattern.

    Raises:
        InputError: there is no such folder, it cannot be read, or two files have one name.
    """
    found: dict[str, Path] = {}
    for path in image_files(folder):
        common = pattern.common(path.name)
        if common is None:
            continue
        other = found.setdefault(common, path)
        if other is not path:
            raise InputError(f"{folder} holds both {_both(other, path, pattern)}")
    return found


def image_files(folder: Path) -> list[Path]:
    """Return the files directly in a folder that are called like images and are not hidden, in alphabetical order."""
    try:
        there = stat_of(folder)
        if there is None:
            raise InputError(f"there is no folder {folder}; check the path")
        if not stat.S_ISDIR(there.st_mode):
            raise InputError(f"{folder} is a file, and a folder of images is wanted; name the folder that it lies in")
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {why(error)}") from error
    extensions = known_extensions()
    return [path for path in entries if not path.name.startswith(".") and split_extension(path.name, extensions)]


def _both(first: Path, second: Path, pattern: Pattern) -> str:
    """Say of two files of a folder that have one name, and what to do."""
    stems = [path.name[: len(path.name) - len(extension_of(path.name))] for path in (first, second)]
    if stems[0] == stems[1]:
        return f"{first.name} and {second.name}; keep one of them"
    if stem_of(first.name) == stem_of(second.name):
        return (
            f"{first.name!a} and {second.name!a}, which differ in nothing but the Unicode form of their "
            "names; keep one of them"
        )
    return f"{first.name} and {second.name}, in which {_option(pattern)} finds one name; let it say more of them"


def matched(
    folders: Sequence[Path],
    names: str | Path | None = None,
    *,
    match: Sequence[str] = (),
    roles: Sequence[str] = (),
    series: Callable[[str], str] = series_of,
) -> list[Case]:
    """Match the images of several folders by what their names have in common.

    Args:
        folders: two or more; one folder may be given again with another pattern.
        names: a list as `read_names` takes it; only these are matched, in this order.
        match: a pattern a folder, as `Pattern` takes it; whole names without extension where none is given.
        roles: what each folder shows; by default their names.
        series: returns the series of a name.

    Returns:
        one case a name, with a source a folder, ``None`` where a folder lacks it; in alphabetical order without names.

    Raises:
        InputError: a folder is missing, cannot be read or is given twice, or nothing matches.
        OptionError: the patterns are none, or not one a folder.
    """
    patterns = patterns_of(match, len(folders))
    check_distinct(folders, patterns)
    listings = [images_in(folder, pattern) for folder, pattern in zip(folders, patterns, strict=True)]
    commons = sorted(set().union(*listings)) if names is None else listed(names, listings)
    shown = tuple(roles) or tuple(folder.name for folder in folders)
    found = [Case(each, tuple(listing.get(each) for listing in listings), shown, series(each)) for each in commons]
    if not any(case.complete for case in found):
        raise InputError(_nothing_matches(folders, patterns, listings, names, commons))
    if match:
        _say_what_fits_no_pattern(folders, patterns)
    return found


def output_name(case: Case, match: Sequence[str] = ()) -> str:
    """Return what a fused image is called: as the first source that is there, by patterns without its own part.

    Args:
        case: of `matched`.
        match: the patterns that it was matched by.
    """
    for path, pattern in zip(case.sources, patterns_of(match, len(case.sources)), strict=True):
        if path is not None:
            return path.name if pattern == WHOLE else f"{case.name}{extension_of(path.name)}"
    return case.name


def check_distinct(folders: Sequence[Path], patterns: Sequence[Pattern] = ()) -> None:
    """Raise `InputError` where one folder is given twice, by whatever path, unless patterns tell its files apart."""
    patterns = patterns or (WHOLE,) * len(folders)
    for (first, pattern), (second, other) in combinations(zip(folders, patterns, strict=True), 2):
        if pattern == other and same_file(first, second):
            are = f"{first} is given twice" if first == second else f"{first} and {second} are one folder"
            raise InputError(
                f"{are}, and each of its images would be matched with itself; name another folder, or, where it holds "
                "the images of several sources, tell them apart, as by --match '{}_CT' --match '{}_MR'"
            )


def _nothing_matches(
    folders: Sequence[Path],
    patterns: Sequence[Pattern],
    listings: Sequence[Mapping[str, Path]],
    names: str | Path | None,
    commons: Sequence[str],
) -> str:
    """Say that no name is in all folders, what they hold, and by which patterns their images would match."""
    shown = ", ".join(str(folder) for folder in folders)
    if names is None:
        fact = f"no file name is in all of {shown}"
    else:
        fact = f"of the {count_of(commons, 'name')} that {names} lists ({some(commons, 2)}) none is in all of {shown}"
    holdings = [_holding(*each) for each in zip(folders, patterns, listings, strict=True)]
    remedy = "images are matched by file name without extension"
    if all(pattern == WHOLE for pattern in patterns):
        found = proposed(listings)
        if found is not None:
            remedy += f"; these match by {' '.join(_option(Pattern(each)) for each in found)}"
        elif set.intersection(*({name.casefold() for name in listing} for listing in listings)):
            remedy += ", and capitals count; rename those of one folder"
        else:
            remedy += ", or by what --match finds in it, as '{}_CT'"
    return f"{fact}: {', '.join(holdings)}; {remedy}"


def _holding(folder: Path, pattern: Pattern, listing: Mapping[str, Path]) -> str:
    """Say what a folder holds, by two examples."""
    if listing:
        return f"{folder} holds {' and '.join(repr(path.name) for path in list(listing.values())[:2])}"
    others = image_files(folder)
    if others:
        return f"{folder} holds {others[0].name!r}, which {_option(pattern)} does not fit"
    return f"{folder} holds no image"


def _say_what_fits_no_pattern(folders: Sequence[Path], patterns: Sequence[Pattern]) -> None:
    """Warn of images that are left out because they fit none of the patterns that their folder is given with."""
    for number, folder in enumerate(folders):
        if any(same_file(folder, before) for before in folders[:number]):
            continue
        own = [pattern for each, pattern in zip(folders, patterns, strict=True) if same_file(each, folder)]
        strange = [path.name for path in image_files(folder) if not any(each.common(path.name) for each in own)]
        if strange:
            fits = f"{'none of ' if len(own) > 1 else ''}{' '.join(map(_option, own))} fits"
            warnings.warn(
                f"{folder}: {count_of(strange, 'image')} left out, which {fits}: {some(strange, 2)}",
                FusekitWarning,
                stacklevel=4,
            )


def _option(pattern: Pattern) -> str:
    return f"--match {shlex.quote(pattern.text)}"


def shortened(folder: Path) -> str:
    """Return the last two parts of a folder's path, which tell of the data and not of the machine."""
    return "/".join(folder.resolve().parts[-2:])


def fused_paths(texts: Sequence[str]) -> dict[str, Path]:
    """Return method → path of ``NAME=PATH`` or ``PATH`` texts of ``--fused``; a bare path is called as its last part.

    Raises:
        OptionError: a text names no method, or two are called alike.
    """
    methods: dict[str, Path] = {}
    for text in texts:
        name, separator, path = text.partition("=")
        named = separator and not (is_file(Path(text)) or is_folder(Path(text)))
        target = Path(path if named else text)
        if not named:
            name = target.resolve().name if is_folder(target) else stem_of(target.name)
        if not name.strip():
            raise OptionError(f"--fused {text} names no method; give --fused NAME={target}")
        if name in methods:
            raise OptionError(f"two fused results are called {name!r}; name them: --fused NAME={target}")
        methods[name] = target
    return methods
