"""Datasets of a bench as data: reading their description, their pairs, and that no patient is on both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.cli import write_texture
from helpers.datasets import FACTS, write_data
from helpers.paths import SHARED

from fusekit.cases.case import Case
from fusekit.cases.datasets import choose, read_datasets
from fusekit.errors import InputError, UnknownNameError


def test_pairs_follow_the_lists(tmp_path: Path) -> None:
    dataset = read_datasets(write_data(tmp_path))["tiny"]
    assert dataset.training_names() == ["1000", "1001", "1002", "2000", "2001", "2002"]
    assert dataset.test_cases() == [
        Case(name, (tmp_path / "pet" / f"{name}.png", tmp_path / "mri" / f"{name}.png"), ("PET", "MRI"), "3")
        for name in ("3000", "3001", "3002")
    ]
    assert len(dataset.all_cases()) == 9
    assert dataset.source_names == ("PET", "MRI")
    assert dataset.series_of("12003") == "12"


def test_folders_are_matched_by_patterns(tmp_path: Path) -> None:
    root = write_data(tmp_path, match=["{}_PET", "{}_MRI"])
    for folder in ("pet", "mri"):
        for path in (root / folder).iterdir():
            path.rename(path.with_stem(f"{path.stem}_{folder.upper()}"))
    dataset = read_datasets(root)["tiny"]
    assert dataset.training_names() == ["1000", "1001", "1002", "2000", "2001", "2002"]
    assert [case.name for case in dataset.test_cases()] == ["3000", "3001", "3002"]
    assert dataset.test_cases()[0].files == (root / "pet" / "3000_PET.png", root / "mri" / "3000_MRI.png")


def test_a_test_set_kept_apart(tmp_path: Path) -> None:
    root = write_data(tmp_path, test=None, test_folders=["outside/pet", "outside/mri"], roles=None)
    for folder in ("pet", "mri"):
        # The name is that of a trained pair; another folder is another patient.
        write_texture(root / "outside" / folder / "1000.png", 1)
    dataset = read_datasets(root)["tiny"]
    (case,) = dataset.test_cases()
    assert case.files == tuple(root / "outside" / folder / "1000.png" for folder in ("pet", "mri"))
    assert dataset.source_names == ("pet", "mri")


@pytest.mark.parametrize(
    ("train", "test", "series", "leaked"),
    [
        (["1000", "2000"], ["2000", "3000"], "", "2000"),
        (["1000", "2000"], ["2001", "3000"], r"(\d+)\d{3}", "2"),
    ],
)
def test_a_leak_is_refused(tmp_path: Path, train: list[str], test: list[str], series: str, leaked: str) -> None:
    root = write_data(tmp_path, series=series)
    (root / "lists.json").write_text(json.dumps({"train": train, "test": test}))
    with pytest.raises(InputError, match=f"has '{leaked}' in both its training and its test list"):
        read_datasets(root)["tiny"].test_cases()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": ["a"]}, "'folder', which is none of folders, title"),
        ({"folders": ["pet"]}, "needs 'folders', two or more"),
        ({"folders": "pet"}, "'folders' of the dataset 'tiny' is 'pet'"),
        ({"roles": ["PET"]}, "as many 'roles' as 'folders'"),
        ({"match": ["{}_PET"]}, "as many 'match' as 'folders'"),
        ({"match": "{}"}, "'match' of the dataset 'tiny' is '{}'"),
        ({"draw": 0}, "'draw' of the dataset 'tiny' is 0"),
        ({"draw": True}, "'draw' of the dataset 'tiny' is True"),
        ({"series": "("}, "is no regular expression"),
        ({"series": r"\d+"}, "needs a group around the series"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        read_datasets(write_data(tmp_path, **changes))


def test_other_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no data folder"):
        read_datasets(tmp_path / "absent")
    write_data(tmp_path)
    for text, message in (("{", "cannot read the description"), ("[]", "is no description"), ('{"a": 1}', "has 'a'")):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(InputError, match=message):
            read_datasets(tmp_path, tmp_path / "other.json")
    dataset = read_datasets(write_data(tmp_path, test=None))["tiny"]
    with pytest.raises(InputError, match="states no test set"):
        dataset.test_cases()
    with pytest.raises(InputError, match="has not the form"):
        dataset.series_of("brain")
    (tmp_path / "mri" / "3001.png").unlink()
    with pytest.raises(InputError, match=r"lists '3001', which .*mri lacks"):
        read_datasets(write_data_lists(tmp_path))["tiny"].test_cases()


def write_data_lists(root: Path) -> Path:
    (root / "datasets.json").write_text(json.dumps({"tiny": FACTS}))
    return root


def test_choosing_keeps_the_order_asked_for(tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "datasets.json").write_text(json.dumps({"a": FACTS, "b": FACTS}))
    datasets = read_datasets(tmp_path)
    assert [each.name for each in choose(datasets, [])] == ["a", "b"]
    assert [each.name for each in choose(datasets, ["b", "a", "b"])] == ["b", "a"]
    with pytest.raises(UnknownNameError, match="unknown dataset 'c'"):
        choose(datasets, ["c"])


def test_the_harvard_slices_are_described_without_a_leak() -> None:
    root = SHARED / "data" / "harvard"
    if not root.is_dir():
        pytest.skip("the Harvard slices are not here; FUSEKIT_SHARED names the folder of the research data")
    datasets = read_datasets(root)
    counts = {name: (len(each.training_names()), len(each.test_cases())) for name, each in datasets.items()}
    assert counts == {"ct-mri": (111, 38), "spect-mri": (239, 53), "pet-mri": (269, 20)}


def test_a_folder_without_a_description_has_the_layout_of_what_is_there(tmp_path: Path) -> None:
    assert set(read_datasets(tmp_path)) == {"ct-mri", "spect-mri", "pet-mri"}
    for folder in ("vi", "ir"):
        write_texture(tmp_path / "vifb" / folder / "walk.jpg", 1)
    (only,) = read_datasets(tmp_path).values()
    assert (only.source_names, only.weights) == (("visible", "infrared"), "")
    (case,) = only.test_cases()
    assert case.files == (tmp_path / "vifb/vi/walk.jpg", tmp_path / "vifb/ir/walk.jpg")
    (tmp_path / "spect-mri" / "mri").mkdir(parents=True)
    assert "spect-mri" in read_datasets(tmp_path)
