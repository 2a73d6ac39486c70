"""What is said of folders, made what is said of each of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fusekit.cases.case import Case
from fusekit.cases.roles import numbered
from fusekit.choices import for_each, number_of
from fusekit.images.folder_ranges import in_folder
from fusekit.options import FuseOptions
from fusekit.pipeline import read


def of_folders(options: FuseOptions, folders: Sequence[Path]) -> FuseOptions:
    """Return options that name folders by their numbers, whatever they were named by, and say a range of each.

    Raises:
        OptionError: a role, a range or an inversion is of none of the folders.
    """
    roles = numbered(options.roles, folders)
    ranges = for_each(options.range, folders, roles, "--range", "auto") if options.range else ()
    turned = tuple(str(number_of(each, folders, roles, "--invert")) for each in options.invert)
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
        files = [path for case in cases if (path := case.sources[place]) is not None]
        opened = partial(
            read,
            nan=options.nan,
            page=options.page,
            max_pixels=options.max_pixels,
            inverted=str(place + 1) in options.invert,
        )
        asked[place] = in_folder(text, files, opened)
    return replace(options, range=tuple(asked)) if set(asked) != {"auto"} else options
