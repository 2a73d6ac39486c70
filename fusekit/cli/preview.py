"""``fusekit fuse --preview``: sources and result side by side, each within its range, with the bar of a colour map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_preview(target: Path, output: Path, record: Mapping[str, Any], overwrite: bool) -> None:
    """Write the sources that a record names, and the image that was fused of them, as one picture.

    Raises:
        OutputError: something is there already, or it cannot be written.
    """
    from fusekit.choices import parse_color
    from fusekit.images.files import write_image
    from fusekit.images.montage import side_by_side
    from fusekit.machine.files import check_place

    check_place(target, overwrite)
    sources, choice = record["sources"], parse_color(record["color"])
    bar = None
    if choice.mode == "overlay":
        bar = (choice.color_map, tuple(sources[record["chroma_from"] - 1]["range"]))
    ranges = [tuple(each["range"]) for each in (*sources, record["output"])]
    reading = {name: record[name] for name in ("nan", "page", "max_pixels")}
    write_image(target, side_by_side([*(Path(each["path"]) for each in sources), output], ranges, bar, **reading))
