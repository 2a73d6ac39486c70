"""Datasets of a bench as data: which folders hold the sources, and which cases are for training and for testing.

The format stands in ``docs/quality.md``. ``harvard.json`` beside this file describes the slices that the paper used,
``infrared-visible.json`` pairs of photographs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fusekit.cases.case import Case
from fusekit.cases.folders import images_in, matched
from fusekit.cases.names import listed
from fusekit.cases.patterns import patterns_of
from fusekit.cases.splits import series_of
from fusekit.errors import InputError, UnknownNameError
from fusekit.machine.parsing import read_json

#: Descriptions for folders that have none, the first where no folder of any is there.
_BUILT_IN = tuple(Path(__file__).with_name(f"{name}.json") for name in ("harvard", "infrared-visible"))


@dataclass(frozen=True)
class Dataset:
    """Folders of sources that match by file name. All paths are relative to ``root``.

    Attributes:
        name: what it is called on the command line.
        root: folder that the paths start from.
        folders: one a source, in the order in which they are fused; colour is fused by its luminance.
        title: what tables call it.
        roles: what each folder shows, such as ``CT``; the folders' own names by default.
        match: pattern of the names in each folder, see `fusekit.cases.patterns.Pattern`; whole names by default.
        train: list of names for training, as `fusekit.cases.names.read_names` takes it; all images by default.
        test: list of names for testing.
        test_folders: other folders that the test cases lie in, for a test set kept apart; all of their cases where
            ``test`` is not given.
        series: regular expression whose first group is a name's series, that is, its patient; empty if unknown,
            and then every image is a series of its own.
        weights: tag of the weights that models bring for this data; empty where there are none, and then models have
            weights of other images.
        draw: number of test cases of a random draw, for the protocol ``paper``.
        paper: table of the paper to show beside.
    """

    name: str
    root: Path
    folders: tuple[str, ...]
    title: str = ""
    roles: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    train: str = ""
    test: str = ""
    test_folders: tuple[str, ...] = ()
    series: str = ""
    weights: str = ""
    draw: int = 0
    paper: str = ""

    @property
    def source_names(self) -> tuple[str, ...]:
        """What each source shows."""
        return self.roles or tuple(Path(folder).name for folder in self.folders)

    def training_folders(self) -> list[Path]:
        """Return the folders to train on."""
        return [self.root / folder for folder in self.folders]

    def training_names(self) -> list[str]:
        """Return the names of the cases for training, without extension."""
        if self.train:
            patterns = patterns_of(self.match, len(self.folders))
            holdings = [images_in(*each) for each in zip(self.training_folders(), patterns, strict=True)]
            return listed(str(self.root / self.train), holdings)
        return [case.name for case in self.all_cases()]

    def all_cases(self) -> list[Case]:
        """Return every complete case of the folders to train on, whatever the split says."""
        return self._complete(self.training_folders(), None)

    def test_cases(self) -> list[Case]:
        """Return the cases for testing.

        Raises:
            InputError: the dataset states none, a case is incomplete, or a series is also trained on.
        """
        if not self.test and not self.test_folders:
            raise InputError(f"the dataset {self.name!r} states no test set; give it 'test' or 'test_folders'")
        folders = [self.root / folder for folder in self.test_folders or self.folders]
        cases = self._complete(folders, str(self.root / self.test) if self.test else None)
        if not self.test_folders:
            self._check_leak(cases)
        return cases

    def series_of(self, name: str) -> str:
        """Return the series that an image name belongs to: as the dataset's pattern says, or of its own without one.

        Raises:
            InputError: the name does not match the dataset's pattern; in ``test_folders`` names may have other forms.
        """
        whose = "" if self.test_folders else f"the dataset {self.name!r}"
        return series_of(name, self.series, whose=whose) if self.series else name

    def _complete(self, folders: Sequence[Path], names: str | None) -> list[Case]:
        """Match folders and keep the complete cases; each listed one must be complete."""
        found = matched(folders, names, match=self.match, roles=self.source_names, series=self.series_of)
        for case in found:
            if names is not None and not case.complete:
                lacking = folders[case.sources.index(None)]
                raise InputError(
                    f"{names} lists {case.name!r}, which {lacking} lacks; correct the list or add the image"
                )
        return [case for case in found if case.complete]

    def _check_leak(self, test: Sequence[Case]) -> None:
        """Raise `InputError` if a case, or a series where these are known, is trained on and tested on."""
        train = self.training_names()
        both = sorted(set(train) & {case.name for case in test})
        if not both:
            both = sorted({self.series_of(name) for name in train} & {case.series for case in test})
        if both:
            raise InputError(
                f"the dataset {self.name!r} has {both[0]!r} in both its training and its test list; "
                "correct the lists, or figures would be of images that were trained on"
            )


def read_datasets(root: Path, description: Path | None = None) -> dict[str, Dataset]:
    """Return the datasets under ``root`` by name.

    Args:
        root: folder of the data.
        description: JSON file; by default ``datasets.json`` in the folder, or else of the built-in descriptions the one
            whose folders are there.

    Raises:
        InputError: there is no such folder, or the file is not such a description.
    """
    if not root.is_dir():
        raise InputError(f"there is no data folder {root}; check --data")
    beside = root / "datasets.json"
    if description is None and not beside.is_file():
        every = [_described(root, path) for path in _BUILT_IN]
        return next((each for each in every if any(map(_is_there, each.values()))), every[0])
    return _described(root, description or beside)


def _described(root: Path, path: Path) -> dict[str, Dataset]:
    try:
        described = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the description of datasets {path}: {error}") from error
    if not isinstance(described, dict) or not described:
        raise InputError(f"{path} is no description of datasets: it maps names to objects (see docs/quality.md)")
    return {name: _dataset(name, root, facts, path) for name, facts in described.items()}


def _is_there(dataset: Dataset) -> bool:
    return any((dataset.root / folder).is_dir() for folder in (*dataset.folders, *dataset.test_folders))


def choose(datasets: dict[str, Dataset], names: Sequence[str]) -> list[Dataset]:
    """Return the named datasets; all for no name.

    Raises:
        UnknownNameError: one is not described.
    """
    for name in names:
        if name not in datasets:
            raise UnknownNameError("dataset", name, datasets)
    return [datasets[name] for name in dict.fromkeys(names or datasets)]


def _dataset(name: str, root: Path, facts: Any, path: Path) -> Dataset:
    known = {each.name: each for each in fields(Dataset) if each.name not in ("name", "root")}
    if not isinstance(facts, dict) or not all(key in known for key in facts):
        wrong = next((key for key in facts if key not in known), name) if isinstance(facts, dict) else name
        raise InputError(f"{path}: the dataset {name!r} has {wrong!r}, which is none of {', '.join(known)}")
    for key, value in facts.items():
        if not _fits(key, value):
            raise InputError(f"{path}: {key!r} of the dataset {name!r} is {value!r}, which is not of its type")
    if len(facts.get("folders", ())) < 2:
        raise InputError(f"{path}: the dataset {name!r} needs 'folders', two or more")
    for key in ("roles", "match", "test_folders"):
        if facts.get(key) and len(facts[key]) != len(facts["folders"]):
            raise InputError(f"{path}: the dataset {name!r} needs as many {key!r} as 'folders'")
    _check_pattern(facts.get("series", ""), name, path)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    return Dataset(name=name, root=root, **{"title": name, **values})


def _fits(key: str, value: Any) -> bool:
    if key in ("folders", "roles", "match", "test_folders"):
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if key == "draw":
        return isinstance(value, int) and not isinstance(value, bool) and value > 0
    return isinstance(value, str)


def _check_pattern(pattern: str, name: str, path: Path) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise InputError(f"{path}: 'series' of the dataset {name!r} is no regular expression: {error}") from error
    if pattern and groups < 1:
        raise InputError(f"{path}: 'series' of the dataset {name!r} needs a group around the series, such as (\\d+)")
