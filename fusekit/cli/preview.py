"""``fusekit fuse --preview``: sources and result side by side, each within its range, with the bar of a colour map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusekit.images.image import Image
    from fusekit.models.base import FusionModel
    from fusekit.options import FuseOptions
    from fusekit.pipeline import Fused


def check_preview(preview: Path, output: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Raise `OptionError` or `OutputError` where a preview cannot be written."""
    from fusekit.errors import OptionError
    from fusekit.images.files import check_format
    from fusekit.machine.files import check_writable
    from fusekit.record import check_output

    if preview.absolute() == output.absolute():
        raise OptionError(f"--preview and --output are both {preview}; name two files")
    check_format(preview, "uint8", True)
    check_output(preview, sources, record=False, overwrite=overwrite)
    check_writable(preview, overwrite)


def preview_of(sources: Sequence[Path], model: FusionModel, options: FuseOptions, fused: Fused) -> Image:
    """Return the sources as they were fused, on one grid, and what was fused of them, as one picture.

    Raises:
        InputError: they are no pictures.
    """
    from fusekit.images.montage import side_by_side
    from fusekit.pipeline import prepare

    prepared = prepare(sources, model, options)
    choice, place = prepared.coloring.choice, prepared.coloring.source
    bar = (choice.color_map, prepared.limits[place]) if choice.mode == "overlay" and place is not None else None
    low, high = fused.record["output"]["range"]
    return side_by_side([*prepared.aligned.images, fused.stored], [*prepared.limits, (low, high)], bar)
