"""Training images: single ones or registered sources, and crops of them that depend on nothing but seed and step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from fusekit.cases.case import Case
from fusekit.cases.folders import check_distinct, images_in, matched, shortened
from fusekit.cases.names import list_name, listed
from fusekit.cases.patterns import patterns_of
from fusekit.cases.splits import SERIES_PATTERN, all_series, series_of
from fusekit.errors import TrainingError, count_of, some
from fusekit.images.files import is_page, read_image
from fusekit.images.folder_ranges import Reader, in_folder
from fusekit.images.image import Image, with_background
from fusekit.images.ranges import Range, doubts_about, find_range, luminance_of, model_range, to_unit
from fusekit.machine.files import sha256_of_all
from fusekit.registry.specs import Normalization

#: The pixels of one example, each (1, H, W): a single image, or the registered sources of one slice.
Sources: TypeAlias = tuple[Tensor, ...]


def find_images(
    folders: Sequence[Path], names: Sequence[Path | str] = (), match: Sequence[str] = ()
) -> list[tuple[str, Path]]:
    """Return the image files of ``folders`` with their names: those that a list of names holds, or the folder's own.

    Raises:
        TrainingError: no image is found, listed ones are missing, or there are neither one list nor one a folder.
        InputError: a folder cannot be read, or is given twice.
    """
    folders = [Path(folder) for folder in folders]
    patterns = patterns_of(match, len(folders))
    check_distinct(folders, patterns)
    by_folder = [images_in(*each) for each in zip(folders, patterns, strict=True)]
    if len(names) > 1 and len(names) != len(folders):
        raise TrainingError(
            f"{count_of(names, 'list')} of names and {count_of(folders, 'folder')} are given; give one list for all "
            "folders, or one for each"
        )
    if not names:
        found = [each for images in by_folder for each in images.items()]
    elif len(names) == 1:
        found = _of_list(names[0], by_folder)
    else:
        found = [each for images, own in zip(by_folder, names, strict=True) for each in _of_list(own, [images])]
    if not found:
        raise TrainingError(f"no images in {', '.join(str(folder) for folder in folders)}")
    return found


def _of_list(names: Path | str, by_folder: Sequence[Mapping[str, Path]]) -> list[tuple[str, Path]]:
    wanted = listed(names, by_folder)
    absent = [name for name in wanted if not any(name in images for images in by_folder)]
    if absent:
        holder = "none of the folders holds" if len(by_folder) > 1 else "its folder does not hold"
        raise TrainingError(f"{names} lists {count_of(absent, 'name')} that {holder}: {some(absent)}")
    return [(name, images[name]) for images in by_folder for name in wanted if name in images]


def find_cases(
    folders: Sequence[Path],
    names: Sequence[Path | str] = (),
    *,
    match: Sequence[str] = (),
    sources: int = 1,
    pattern: str = SERIES_PATTERN,
) -> list[Case]:
    """Return what to train on: each image of ``folders`` alone, or those of one name in so many of them as one case.

    Args:
        folders: of images; for several sources a case, so many folders a data set, one data set after the other.
        names: lists as `read_names` takes them, one for all folders, or one a folder or data set; all by default.
        match: a pattern a folder, see `fusekit.cases.folders.matched`.
        sources: how many the model sees together.
        pattern: of the series in a name, see `fusekit.cases.splits.series_of`.

    Raises:
        TrainingError: as `find_images`; or several sources are to be seen together, and the folders are no multiple of
            them, the lists neither one nor one a data set, or a listed name is not in all folders of a data set.
        InputError: no name is in all of the folders.
        OptionError: a pattern is none.
    """
    if sources == 1:
        return [
            Case(name, (path,), (path.parent.name,), series_of(name, pattern))
            for name, path in find_images(folders, names, match)
        ]
    if len(folders) < 2 or len(folders) % sources:
        raise TrainingError(
            f"this model is trained on {max(sources, 2)} registered sources; give a folder for each, matched by file "
            f"name, and so many again for each further data set, not {count_of(folders, 'folder')}"
        )
    sets = [folders[first : first + sources] for first in range(0, len(folders), sources)]
    if len(names) > 1 and len(names) != len(sets):
        raise TrainingError(
            f"this model is trained on registered sources, of one name in {sources} folders; give one list, or one for "
            f"each such data set, not {len(names)}"
        )
    lists: Sequence[Path | str | None] = names if len(names) == len(sets) else [names[0] if names else None] * len(sets)
    patterns_of(match, len(folders))
    patterns = [match[first : first + sources] for first in range(0, len(folders), sources)]
    return [
        case
        for each, wanted, own in zip(sets, lists, patterns, strict=True)
        for case in _of_one_set(each, wanted, own, pattern)
    ]


def _of_one_set(folders: Sequence[Path], wanted: Path | str | None, match: Sequence[str], pattern: str) -> list[Case]:
    found = matched(folders, wanted, match=match, series=partial(series_of, pattern=pattern))
    absent = [case.name for case in found if not case.complete]
    if wanted is not None and absent:
        raise TrainingError(f"{wanted} lists {count_of(absent, 'name')} not in all of the folders: {some(absent)}")
    return [case for case in found if case.complete]


def read_without_gaps(path: Path, *, background: bool, page: int | None, max_pixels: int) -> Image:
    """Return the image of a file, whose values that are no numbers are refused, or else taken for background.

    Raises:
        InputError: it cannot be read or used.
    """
    image = read_image(path, finite=not background, page=page, max_pixels=max_pixels)
    return with_background(image) if background else image


class Images:
    """Reads images as networks are trained on them, and keeps what of their ranges only the user can settle.

    Args:
        normalization: of the model's spec.
        read: reads a file, with values that are all numbers.
        ranges: what was said of the range of each file, see `ranges_of`; ``auto`` of others.
    """

    def __init__(
        self, normalization: Normalization, read: Reader = read_image, ranges: Mapping[Path, str] | None = None
    ) -> None:
        self.normalization, self.read, self.ranges = normalization, read, dict(ranges or {})
        self.found: list[Range] = []
        self.paged = False

    def load(self, path: Path) -> Tensor:
        """Return a file's luminance as (1, H, W) float32 in [0, 1], normalised as the model's spec says.

        Raises:
            InputError: it cannot be read.
            OptionError: its range cannot be used.
        """
        image = self.read(path)
        self.paged |= is_page(image)
        self.found.append(find_range(image, self.ranges.get(path, "auto")))
        limits = model_range(image, self.found[-1], self.normalization)
        return torch.from_numpy(to_unit(luminance_of(image), limits))[None]

    @property
    def doubts(self) -> list[str]:
        """What of the ranges of the images read so far is in doubt, with the option that settles it."""
        return [doubt.text for doubt in doubts_about(self.found)]


def ranges_of(
    folders: Sequence[Path], match: Sequence[str], asked: Sequence[str], read: Reader, used: Collection[Path]
) -> dict[Path, str]:
    """Return what is said of the range of each image, with what is found in all of a folder's.

    Args:
        folders: of images, with a pattern each, as `find_cases` takes them.
        match: the patterns.
        asked: of each folder, as `fusekit.choices.parse_range` takes it.
        read: reads an image.
        used: the images that are trained or validated on; others of a folder tell nothing.

    Raises:
        InputError: the images of a folder have no range.
    """
    ranges: dict[Path, str] = {}
    for folder, pattern, text in zip(folders, patterns_of(match, len(folders)), asked, strict=True):
        files = [path for path in images_in(folder, pattern).values() if path in used]
        ranges.update(dict.fromkeys(files, in_folder(text, files, read)))
    return ranges


def load_cases(cases: Sequence[Case], images: Images) -> list[Sources]:
    """Return the pixels of each case's files.

    Raises:
        TrainingError: sources of one case differ in size.
    """
    loaded = []
    for case in cases:
        sources = tuple(images.load(path) for path in case.files)
        for path, source in zip(case.files, sources, strict=True):
            if source.shape != sources[0].shape:
                raise TrainingError(
                    f"{path} is {source.shape[1]}×{source.shape[2]} and {case.files[0]} is {sources[0].shape[1]}×"
                    f"{sources[0].shape[2]}; sources that are trained on together must be registered, on one grid"
                )
        loaded.append(sources)
    return loaded


@dataclass(frozen=True)
class Crop:
    """Where one part of a batch was cut out.

    Attributes:
        example: index of the example.
        top, left: of the crop, pixels.
    """

    example: int
    top: int
    left: int


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        sources: N tensors (B, 1, crop, crop); crops of one example are of the same place, turned and flipped alike.
        crops: B places, to name the batch by.
    """

    sources: tuple[Tensor, ...]
    crops: tuple[Crop, ...]

    def share(self, index: int, count: int) -> Batch:
        """Return the ``index``-th of ``count`` equal parts."""
        size = len(self.crops) // count
        part = slice(index * size, (index + 1) * size)
        return Batch(tuple(source[part] for source in self.sources), self.crops[part])


def sample_batch(examples: Sequence[Sources], batch: int, crop: int, seed: int, step: int) -> Batch:
    """Return random crops of random examples, with random flips and quarter turns.

    The draw is a function of ``seed`` and ``step`` alone, so that a resumed run sees what an uninterrupted one would.
    Images smaller than the crop are padded by repeating their border.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)

    def draw(below: int) -> int:
        return int(torch.randint(below, (1,), generator=generator))

    patches: list[list[Tensor]] = []
    crops = []
    for _ in range(batch):
        example = draw(len(examples))
        sources = [_pad(image, crop) for image in examples[example]]
        top, left = (draw(side - crop + 1) for side in sources[0].shape[1:])
        turns, flip = draw(4), bool(draw(2))
        cut = [torch.rot90(image[:, top : top + crop, left : left + crop], turns, (1, 2)) for image in sources]
        patches.append([patch.flip(2) if flip else patch for patch in cut])
        crops.append(Crop(example, top, left))
    return Batch(tuple(torch.stack(patch) for patch in zip(*patches, strict=True)), tuple(crops))


def _pad(image: Tensor, crop: int) -> Tensor:
    """Repeat the lower and right border of (1, H, W) until no side is shorter than ``crop``."""
    short = [max(0, crop - side) for side in image.shape[1:]]
    if not any(short):
        return image
    return torch.nn.functional.pad(image[None], (0, short[1], 0, short[0]), mode="replicate")[0]


def describe(cases: Sequence[Case], names: Sequence[Path | str] = ()) -> dict[str, object]:
    """Return what a model card says of the data: folders (their last two parts), lists, count, series, and a digest.

    The digest is the SHA-256 of the files' digests in order, so that two trainings can be told to have seen the same.
    """
    paths = [path for case in cases for path in case.files]
    folders = dict.fromkeys(shortened(path.parent) for path in paths)
    facts: dict[str, object] = {"folders": list(folders), "images": len(paths)}
    if names:
        named = [list_name(each) for each in names]
        facts["names"] = named[0] if len(named) == 1 else named
    series = all_series(cases)
    if len(series) < len(cases):
        facts["series"] = series
    facts["sha256"] = sha256_of_all(paths)
    return facts
