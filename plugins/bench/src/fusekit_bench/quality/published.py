"""Fused images that others published, as rows of a quality table: which files are of which test pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusekit.cases.case import Case
from fusekit.cases.datasets import Dataset
from fusekit.cases.folders import images_in
from fusekit.errors import InputError, OptionError
from fusekit.machine.files import is_folder, sha256_of
from fusekit.pipeline import read

Tests = Sequence[tuple[Dataset, Sequence[Case]]]


@dataclass(frozen=True)
class Published:
    """The fused images of one method on one dataset.

    Attributes:
        folder: that they lie in.
        files: pair's name → file, in the order of the pairs; of some of the pairs at least.
        sha256: of the names and the files.
    """

    folder: Path
    files: Mapping[str, Path] = field(hash=False)
    sha256: str


def published(name: str, folder: Path, tests: Tests) -> dict[str, Published]:
    """Return dataset's name → the fused images in ``folder``, for the datasets that it has any for.

    The images lie in it by the names of the pairs, or in a folder a dataset that is called as the dataset, or as the
    folder that its test pairs lie in.

    Args:
        name: what the method is called.
        folder: as given.
        tests: the datasets with their test pairs.

    Raises:
        InputError: a file is the fused image of no pair or of several, cannot be read, is of floats or of another size
            than its pair, or there is none at all.
    """
    files = _by_dataset(name, folder, tests)
    if not any(found for _, found in files.values()):
        known = " or ".join(dict.fromkeys(each for dataset, _ in tests for each in _names_of(dataset)))
        raise InputError(
            f"--fused {name}: {folder} holds no image of a test pair; put the images there by the pairs' names, or in "
            f"a folder a dataset, called {known}"
        )
    rows = {}
    for dataset, cases in tests:
        where, found = files[dataset.name]
        ordered = {case.name: found[case.name] for case in cases if case.name in found}
        for case in cases:
            if case.name in ordered:
                _check(ordered[case.name], case)
        if ordered:
            facts = "".join(f"{each} {sha256_of(path)}\n" for each, path in ordered.items())
            rows[dataset.name] = Published(where, ordered, hashlib.sha256(facts.encode()).hexdigest())
    return rows


def _by_dataset(name: str, folder: Path, tests: Tests) -> dict[str, tuple[Path, dict[str, Path]]]:
    """Return dataset's name → where its images lie, and pair's name → file; each file is of exactly one pair."""
    found: dict[str, tuple[Path, dict[str, Path]]] = {}
    loose: list[tuple[Dataset, set[str]]] = []
    # A folder that is not there is said even where no dataset is looked for in it.
    directly = images_in(folder)
    for dataset, cases in tests:
        pairs = {case.name for case in cases}
        inside = _folder_of(dataset, folder)
        found[dataset.name] = (inside or folder, {})
        if inside is None:
            loose.append((dataset, pairs))
            continue
        found[dataset.name] = (inside, images_in(inside))
        for each, path in found[dataset.name][1].items():
            if each not in pairs:
                raise _stranger(name, path, [dataset])
    for each, path in directly.items():
        of = [dataset for dataset, pairs in loose if each in pairs]
        if not of:
            raise _stranger(name, path, [dataset for dataset, _ in loose or tests])
        if len(of) > 1:
            raise InputError(
                f"--fused {name}: {path} may be of the pair {each} of {' or of '.join(each.name for each in of)}; put "
                "the images into a folder a dataset, called as it"
            )
        found[of[0].name][1][each] = path
    return found


def _names_of(dataset: Dataset) -> list[str]:
    """Return what a folder of fused images may be called: as the dataset, or as what holds its test folders."""
    holders = [Path(each).parent.name for each in dataset.test_folders or dataset.folders]
    return list(dict.fromkeys([dataset.name, *filter(None, holders)]))


def _folder_of(dataset: Dataset, folder: Path) -> Path | None:
    there = [folder / name for name in _names_of(dataset) if is_folder(folder / name)]
    if len(there) > 1:
        raise InputError(f"{there[0]} and {there[1]} are both for the dataset {dataset.name!r}; keep one of them")
    return there[0] if there else None


def _stranger(name: str, path: Path, datasets: Sequence[Dataset]) -> InputError:
    of = " or ".join(dataset.name for dataset in datasets)
    return InputError(
        f"--fused {name}: {path} is the fused image of no test pair of {of}; call it as its pair, or take it away"
    )


def _check(path: Path, case: Case) -> None:
    """Raise `InputError` where an image cannot be rated against its sources."""
    image, source = read(path), read(case.files[0])
    if image.depth == "float32":
        raise InputError(f"{path} holds floats, whose black and white are not known; save it in 8 bits")
    if image.size != source.size:
        sizes = ["×".join(map(str, each.size)) for each in (image, source)]
        raise InputError(
            f"{path} is {sizes[0]} and its source {case.files[0]} is {sizes[1]}; give fused images of the sources' size"
        )


def copies(dataset: Dataset, cases: Sequence[Case]) -> dict[str, Published]:
    """Return what a copy of each source would be called → these copies: the sources themselves, as fused images.

    There are none of sources that are floats.
    """
    if not cases or any(read(path).depth == "float32" for path in cases[0].files):
        return {}
    found = {}
    for place, role in enumerate(dataset.source_names):
        files = {case.name: case.files[place] for case in cases}
        facts = "".join(f"{name} {sha256_of(path)}\n" for name, path in files.items())
        digest = hashlib.sha256(facts.encode()).hexdigest()
        found[f"a copy of {role}"] = Published(cases[0].files[place].parent, files, digest)
    return found


def check_names(fused: Sequence[str], others: Sequence[str]) -> None:
    """Raise `OptionError` where fused images are called as another row."""
    for name in fused:
        if name in others:
            raise OptionError(f"--fused {name} is called as another row of the table; give it another name")
