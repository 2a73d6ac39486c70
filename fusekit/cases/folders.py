"""Folders of images: what they hold, and lists of names that choose from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fusekit.cases.case import Case
from fusekit.cases.splits import series_of
from fusekit.errors import InputError
from fusekit.images.files import known_extensions, split_extension


def images_in(folder: Path) -> dict[str, Path]:
    """Return the image files directly in ``folder``, by file name without extension, in alphabetical order.

    Raises:
        InputError: there is no such folder, or two files differ in nothing but their extension.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; check the path")
    found: dict[str, Path] = {}
    extensions = known_extensions()
    for path in sorted(folder.iterdir()):
        split = split_extension(path.name, extensions)
        if split is None or path.name.startswith("."):
            continue
        if split[0] in found:
            raise InputError(f"{folder} holds both {found[split[0]].name} and {path.name}; keep one of them")
        found[split[0]] = path
    return found


def matched(
    folders: Sequence[Path],
    names: str | Path | None = None,
    *,
    roles: Sequence[str] = (),
    series: Callable[[str], str] = series_of,
) -> list[Case]:
    """Match the images of several folders by file name without extension.

    Args:
        folders: two or more.
        names: a list as `read_names` takes it; only these are matched, in this order.
        roles: what each folder shows; by default their names.
        series: returns the series of a name.

    Returns:
        one case a name, with a source a folder, ``None`` where a folder lacks it; in alphabetical order without names.

    Raises:
        InputError: a folder is missing, or nothing matches.
    """
    listings = [images_in(folder) for folder in folders]
    if names is None:
        stems = sorted(set().union(*listings))
    else:
        stems = list(dict.fromkeys(stem_of(name) for name in read_names(names)))
    shown = tuple(roles) or tuple(folder.name for folder in folders)
    found = [Case(stem, tuple(listing.get(stem) for listing in listings), shown, series(stem)) for stem in stems]
    if not any(case.complete for case in found):
        raise InputError(
            f"no file name is in all of {', '.join(str(folder) for folder in folders)}; pairs are matched by file name"
        )
    return found


def stem_of(name: str) -> str:
    """Return a file's name without folder and without extension, of which a format may have one of two parts."""
    path = Path(name)
    split = split_extension(path.name, known_extensions())
    return path.stem if split is None else split[0]


def read_names(source: str | Path) -> list[str]:
    """Read a list of file names: one a line, or JSON, of which ``FILE.json#/key/key`` picks a part (RFC 6901).

    Raises:
        InputError: the file is missing, is not such a list, or has no such part.
    """
    file_name, _, pointer = str(source).partition("#")
    path = Path(file_name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of names {path}: {error}") from error
    if path.suffix.lower() != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    for key in pointer.split("/")[1:]:
        if not isinstance(value, dict) or key not in value:
            known = ", ".join(value) if isinstance(value, dict) else "none, as it is a list"
            raise InputError(f"{path} has no part {pointer!r}: {key!r} is not among its keys ({known})")
        value = value[key]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InputError(f"{source} is not a list of file names; pick a part of it with {path.name}#/key")
    return value


def list_name(names: str | Path) -> str:
    """Return what a list that `read_names` takes is called on any machine: its file's name, with the pointer."""
    file_name, mark, pointer = str(names).partition("#")
    return Path(file_name).name + mark + pointer


def shortened(folder: Path) -> str:
    """Return the last two parts of a folder's path, which tell of the data and not of the machine."""
    return "/".join(folder.resolve().parts[-2:])
