"""Lists of names, which choose from the images of folders."""

from __future__ import annotations

import codecs
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fusekit.cases.patterns import normal, stem_of
from fusekit.errors import FusekitWarning, InputError, count_of, some
from fusekit.machine.files import check_regular, stat_of, why
from fusekit.machine.parsing import parse_json

#: A list of more bytes is none: a device that never ends, or an image.
_MOST_BYTES = 1 << 26
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_names(source: str | Path) -> list[str]:
    """Read a list of file names: one a line, or JSON, of which ``FILE.json#/key/key`` picks a part (RFC 6901).

    Lines are taken whole, blank ones left out; a line that begins with ``#`` is a name as well. A byte order mark and
    the ends of lines of any system are no part of a name. Bytes that are not UTF-8 stay what they are in file names.

    Raises:
        InputError: the file is missing, is not such a list, or has no such part.
    """
    path, pointer = _parts_of(source)
    text = _text_of(path)
    if path.suffix.lower() != ".json":
        return [line for line in text.split("\n") if line.strip()]
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    for key in (each.replace("~1", "/").replace("~0", "~") for each in pointer.split("/")[1:]):
        if not isinstance(value, dict) or key not in value:
            known = ", ".join(value) if isinstance(value, dict) else "none, as it is a list"
            raise InputError(f"{path} has no part {pointer!r}: {key!r} is not among its keys ({known})")
        value = value[key]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InputError(f"{path}#{pointer} is not a list of file names")
    return value


def listed(source: str | Path, listings: Sequence[Mapping[str, Path]]) -> list[str]:
    """Return the common names that a list chooses, each once, in its order.

    An entry names an image by what its files have in common, or by a file, with or without folder and extension. One
    that no folder holds stays as it is without these. Names that are listed twice are warned of.

    Args:
        source: as `read_names` takes it.
        listings: files of each folder by common name.

    Raises:
        InputError: the list cannot be read, or is empty.
    """
    entries = read_names(source)
    if not entries:
        raise InputError(f"{source} lists no name; put one on each line")
    files: dict[str, str] = {}
    stems: dict[str, str] = {}
    for listing in listings:
        for common, path in listing.items():
            files.setdefault(normal(path.name), common)
            stems.setdefault(stem_of(path.name), common)
    commons = {common: common for listing in listings for common in listing}

    def chosen(entry: str) -> str:
        for name in _spellings(entry):
            for table, key in ((files, name), (commons, name), (stems, name), (commons, stem_of(name))):
                if key in table:
                    return table[key]
            if stem_of(name) in stems:
                return stems[stem_of(name)]
        return stem_of(next(_spellings(entry.strip())))

    counts = Counter(map(chosen, entries))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        warnings.warn(
            f"{source} lists {count_of(twice, 'name')} more than once ({some(twice)}); each is taken once",
            FusekitWarning,
            stacklevel=3,
        )
    return list(counts)


def list_name(names: str | Path) -> str:
    """Return what a list that `read_names` takes is called on any machine: its file's name, with the pointer."""
    path, pointer = _parts_of(names)
    return f"{path.name}#{pointer}" if pointer else path.name


def _parts_of(source: str | Path) -> tuple[Path, str]:
    """Return the file of a list, and the pointer into it; the sign between them may be part of a file's name too."""
    whole = Path(source)
    file_name, mark, pointer = str(source).partition("#")
    try:
        there = stat_of(whole) is not None
    except OSError:
        there = False
    return (whole, "") if there or not mark else (Path(file_name), pointer)


def _text_of(path: Path) -> str:
    """Return the text of a list, its lines ended by newlines.

    Raises:
        InputError: it cannot be read, or is no list of names.
    """
    try:
        # A shell hands on what a command writes, <(ls ct), as a pipe below /dev; any other may never end.
        if not (path.is_fifo() and str(path).startswith("/dev/")):
            check_regular(path)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read the list of names {path}: {why(error)}") from error
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path} is no list of names: it has more than {_MOST_BYTES >> 20} MiB; name a text file")
    try:
        text = data.decode("utf-16") if data.startswith(_UTF_16) else data.decode("utf-8-sig", "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read the list of names {path}: {error}") from error
    if "\0" in text:
        raise InputError(f"{path} is no list of names: it holds zero bytes; name a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _spellings(entry: str) -> Iterator[str]:
    """Yield what an entry may call a file: as it stands, without the spaces around it, with Windows' folders."""
    for text in dict.fromkeys((entry, entry.strip())):
        name = normal(text.rstrip("/").rpartition("/")[2])
        if name:
            yield name
            if "\\" in name.rstrip("\\"):
                yield name.rstrip("\\").rpartition("\\")[2]
