"""What the record beside a fused image tells of ranges: of that image, and of the sources that it was fused of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fusekit.choices import parse_range
from fusekit.errors import Doubt, OptionError
from fusekit.images.image import Image
from fusekit.machine.files import same_file
from fusekit.record import read_record, record_path


class Told(NamedTuple):
    """What a record tells of a source.

    Attributes:
        range: that was chosen, as `fusekit.choices.parse_range` takes it; empty where nothing is told.
        inverted: whether its black was white.
    """

    range: str = ""
    inverted: bool = False


class Record(NamedTuple):
    """A record that tells of the image beside it, or nothing.

    Attributes:
        content: of `fusekit.record.make_record`; empty where there is none.
        doubts: why none is believed.
    """

    content: Mapping[str, Any]
    doubts: tuple[Doubt, ...] = ()

    @property
    def background(self) -> bool:
        """Whether values that are no numbers were taken for background."""
        return self.content.get("nan") == "background"

    @property
    def limits(self) -> tuple[float, float] | None:
        """The stored values that are black and white in the fused image."""
        return _limits(self.content.get("output", {}).get("range"))


def record_of(path: Path, image: Image) -> Record:
    """Return the record beside a fused image, unless it tells of another one, which is in doubt then.

    Args:
        path: of the fused image.
        image: that was read from it.
    """
    content = read_record(path)
    if content is None:
        return Record({})
    digest = content["output"].get("sha256")
    if digest in (None, "" if image.origin is None else image.origin.sha256):
        return Record(content)
    text = (
        f"{record_path(path)} tells of another image than {path} is now (its SHA-256 differs), so the ranges in it are "
        "not used; --data-range says them"
    )
    return Record({}, (Doubt("record", text),))


def told_of(record: Record, images: Sequence[Image]) -> tuple[list[Told], tuple[Doubt, ...]]:
    """Return what a record tells of each source, found by its digest or else by its path, and what is in doubt."""
    entries = [each for each in record.content.get("sources", ()) if isinstance(each, dict)]
    left, found, doubts = list(entries), [], []
    for image in images:
        entry = _of_digest(left, image) or _of_path(left, image)
        if entry is None:
            found.append(Told())
            continue
        left.remove(entry)
        found.append(_told(entry))
        if image.origin is not None and entry.get("sha256") != image.origin.sha256:
            text = (
                f"{image.name} has changed since it was fused (its SHA-256 is another than in the record), and is read "
                f"as its record says, by the range {found[-1].range or 'auto'}; --data-range says otherwise"
            )
            doubts.append(Doubt("changed", text))
    doubts += [_unused(each) for each in left if _told(each).inverted or not _told(each).range.startswith("auto")]
    return found, tuple(doubts)


def _unused(entry: Mapping[str, Any]) -> Doubt:
    said = "was inverted" if _told(entry).inverted else f"had the range {entry.get('range_choice')}"
    text = (
        f"the image was fused of {entry.get('path') or 'an array'}, which {said} and is none of the sources that it is "
        "rated against; --data-range says their ranges"
    )
    return Doubt("others", text)


def _of_digest(entries: Sequence[dict[str, Any]], image: Image) -> dict[str, Any] | None:
    digest = "" if image.origin is None else image.origin.sha256
    return next((each for each in entries if digest and each.get("sha256") == digest), None)


def _of_path(entries: Sequence[dict[str, Any]], image: Image) -> dict[str, Any] | None:
    path = image.path
    if path is None:
        return None
    named = ((each, each.get("path")) for each in entries)
    return next((each for each, name in named if isinstance(name, str) and _same(Path(name), path)), None)


def _same(first: Path, second: Path) -> bool:
    return first == second or same_file(first, second)


def _told(entry: Mapping[str, Any]) -> Told:
    """Return what an entry tells: a range that was chosen by its stored values, ``auto`` as it stands."""
    choice, limits, turned = entry.get("range_choice"), _limits(entry.get("range")), entry.get("inverted") is True
    if not isinstance(choice, str) or limits is None:
        return Told("auto", turned)
    try:
        if parse_range(choice).kind == "auto":
            return Told(choice, turned)
        text = f"{limits[0]!r}:{limits[1]!r}"
        parse_range(text)
    except OptionError:
        return Told("auto", turned)
    return Told(text, turned)


def _limits(value: Any) -> tuple[float, float] | None:
    """Return two stored values, the lower one first, or ``None`` of anything else."""
    if not isinstance(value, list) or len(value) != 2 or not all(type(each) in (int, float) for each in value):
        return None
    low, high = value
    return (float(low), float(high)) if math.isfinite(low) and math.isfinite(high) and low < high else None
