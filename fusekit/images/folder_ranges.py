"""One range for all images of a folder, so that grey and colour mean the same in every image of a series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fusekit.choices import RangeChoice, parse_range
from fusekit.errors import FusekitError, InputError
from fusekit.images.image import Array, Image
from fusekit.images.ranges import bits_for, ends_of, sampled

#: Values of all images of a folder together that are looked at for percentiles.
_VALUES = 1 << 22

#: Reads the image of a file, without values that are no numbers.
Reader = Callable[[Path], Image]


def in_folder(text: str, files: Sequence[Path], read: Reader) -> str:
    """Return what is said of a range with what can only be found in all images of a folder.

    ``folder`` becomes the stored values that are found, and ``auto`` the bits that are stored, where the first image
    that can be read is of 16.

    Args:
        text: as `fusekit.choices.parse_range` takes it.
        files: images of one folder; those that cannot be read are passed by, as they fail where they are used.
        read: reads one.

    Raises:
        InputError: the images have no range, or none can be read.
    """
    choice = parse_range(text)
    if choice.kind == "folder":
        low, high = _range_of(files, choice, read)
        return f"folder@{low!r}:{high!r}"
    return _with_bits(files, read) if choice == RangeChoice("auto") else text


def _with_bits(files: Sequence[Path], read: Reader) -> str:
    pictures = _readable(files, read)
    first = next(pictures, None)
    if first is None or first.dtype != np.uint16:
        return "auto"
    most = int(first.max())
    for pixels in pictures:
        if bits_for(most) == 16:
            break
        most = max(most, int(pixels.max()) if pixels.dtype == np.uint16 else 0)
    return f"auto@{bits_for(most)}"


def _range_of(files: Sequence[Path], choice: RangeChoice, read: Reader) -> tuple[float, float]:
    """Return the least and the greatest value of all images, or two percentiles of evenly spaced ones."""
    if choice.numbers is None:
        ends = [ends_of(pixels) for pixels in _readable(files, read)]
        found = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 0.0)
    else:
        each = max(_VALUES // max(len(files), 1), 1024)
        parts = [sampled(pixels, each).astype(np.float64) for pixels in _readable(files, read)]
        low, high = np.percentile(np.concatenate(parts), choice.numbers) if parts else (0.0, 0.0)
        found = (float(low), float(high))
    if not found[0] < found[1]:
        where = files[0].parent if files else "a folder"
        raise InputError(f"the images of {where} have no range of values; choose another range, as LOW:HIGH")
    return found


def _readable(files: Sequence[Path], read: Reader) -> Iterator[Array]:
    for path in files:
        try:
            yield read(path).pixels
        except FusekitError:
            continue
