"""Ranges over folders: grey and colour mean the same in every image of a series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fusekit.cases.case import Case
from fusekit.cases.roles import numbered
from fusekit.choices import RangeChoice, for_each, number_of, parse_range
from fusekit.errors import FusekitError, InputError
from fusekit.images.files import read_image
from fusekit.images.image import Array
from fusekit.images.ranges import bits_for, sampled
from fusekit.options import FuseOptions

#: Values of all images of a folder together that are looked at for percentiles.
_VALUES = 1 << 22


def of_folders(options: FuseOptions, folders: Sequence[Path]) -> FuseOptions:
    """Return options that name folders by their numbers, whatever they were named by, and say a range of each.

    Raises:
        OptionError: a role, a range or an inversion is of none of the folders.
    """
    roles = numbered(options.roles, folders)
    ranges = for_each(options.range, folders, roles, "--range", "auto") if options.range else ()
    turned = tuple(str(number_of(str(each), folders, roles, "--invert")) for each in options.invert)
    return replace(options, roles=roles, range=tuple(ranges), invert=turned)


def with_found_ranges(options: FuseOptions, cases: Sequence[Case]) -> FuseOptions:
    """Return options in which each range ``folder`` is the one that was found in the images of that folder.

    Where nothing is said, images of 16 bits are looked through for how many of them are used in all of the folder.

    Raises:
        InputError: a folder holds no image that can be read.
    """
    if not cases:
        return options
    count = len(cases[0].sources)
    asked = for_each(options.range, [None] * count, {}, "--range", "auto")
    for place, text in enumerate(asked):
        choice, files = parse_range(text), [path for case in cases if (path := case.sources[place]) is not None]
        if choice.kind == "folder":
            low, high = _range_of(files, choice, options)
            asked[place] = f"folder@{low!r}:{high!r}"
        elif choice == RangeChoice("auto"):
            asked[place] = _with_bits(files, options)
    return replace(options, range=tuple(asked)) if set(asked) != {"auto"} else options


def _with_bits(files: Sequence[Path], options: FuseOptions) -> str:
    """Return ``auto`` with the bits that are stored in the images of a folder, if its first one is of 16 bits."""
    pictures = _readable(files, options)
    first = next(pictures, None)
    if first is None or first.dtype != np.uint16:
        return "auto"
    most = int(first.max())
    for pixels in pictures:
        if bits_for(most) == 16:
            break
        most = max(most, int(pixels.max()) if pixels.dtype == np.uint16 else 0)
    return f"auto@{bits_for(most)}"


def _range_of(files: Sequence[Path], choice: RangeChoice, options: FuseOptions) -> tuple[float, float]:
    """Return the least and the greatest value of all images, or two percentiles of evenly spaced ones."""
    if choice.numbers is None:
        ends = [(float(pixels.min()), float(pixels.max())) for pixels in _readable(files, options)]
        found = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 0.0)
    else:
        each = max(_VALUES // max(len(files), 1), 1024)
        parts = [sampled(pixels, each).astype(np.float64) for pixels in _readable(files, options)]
        low, high = np.percentile(np.concatenate(parts), choice.numbers) if parts else (0.0, 0.0)
        found = (float(low), float(high))
    if not found[0] < found[1]:
        where = files[0].parent if files else "a folder"
        raise InputError(f"the images of {where} have no range of values; choose --range LOW:HIGH")
    return found


def _readable(files: Sequence[Path], options: FuseOptions) -> Iterator[Array]:
    """Yield the pixels of all files that can be read; the others fail when they are to be fused."""
    for path in files:
        try:
            yield read_image(path, options.nan, page=options.page, max_pixels=options.max_pixels).pixels
        except FusekitError:
            continue
