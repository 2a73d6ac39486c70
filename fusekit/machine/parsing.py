"""JSON that others wrote: read so that nothing in it, whatever it is, ends in anything but a `ValueError`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fusekit.machine.files import irregular

#: Lists in lists and objects in objects, which people and programs write by the handful.
MOST_DEPTH = 64
#: A text of more bytes is no configuration, list or record: a device that never ends, or an image.
MOST_BYTES = 1 << 26


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; bytes are UTF-8, or UTF-16 and UTF-32 by their mark.

    Raises:
        ValueError: it is no JSON (then a `json.JSONDecodeError`), it is nested more than `MOST_DEPTH` deep, an object
            has a key twice, or a number has more digits than Python reads. The message is one line.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("it holds a number of too many digits") from None
        raise
    _check_depth(value)
    return value


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: as of `parse_json`; or it is a device, a pipe or a folder, or larger than `MOST_BYTES`.
    """
    kind = irregular(path)
    if kind is not None:
        raise ValueError(f"it is not a regular file but {kind}")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
    return parse_json(data)


_TOO_DEEP = f"it is nested more than {MOST_DEPTH} deep"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; a key that stands twice has no meaning that two readers agree on."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:50]!r} stands twice in one object")
    return found


def _check_depth(value: Any) -> None:
    """Raise `ValueError` for what is nested too deep, which others would fail on who go through it by recursion."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MOST_DEPTH):
        inner = [one for each in level for one in (each.values() if isinstance(each, dict) else each)]
        level = [one for one in inner if isinstance(one, (dict, list))]
    if level:
        raise ValueError(_TOO_DEEP)
