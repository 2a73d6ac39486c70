"""Series of images: which file is of which, and which are kept apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cli import write_texture

from fusekit.cases.splits import all_series, hold_out, series_of
from fusekit.errors import FusekitWarning, InputError, OptionError, TrainingError
from fusekit.train.data import describe, find_cases


@pytest.mark.parametrize(
    ("name", "series"),
    [("2004", "2"), ("41023", "41"), ("011_010", "011"), ("a-b-001", "a-b"), ("scan", "scan"), ("003", "003")],
)
def test_a_file_name_is_its_series_and_a_slice(name: str, series: str) -> None:
    assert series_of(name) == series


def test_the_pattern_can_be_another() -> None:
    assert series_of("p7-s001", r"(p\d+)-s\d+") == "p7"
    for wrong in ("(", r"\d+"):
        with pytest.raises(OptionError, match="not a regular expression with one group around the series"):
            series_of("123", wrong)


def test_images_to_train_on_are_found_by_patterns(tmp_path: Path) -> None:
    for folder in ("ct", "mr"):
        for name in ("2001", "2002", "10001"):
            write_texture(tmp_path / folder / f"{name}_{folder.upper()}.png", 1)
    write_texture(tmp_path / "ct" / "scout.png", 1)
    folders, match = [tmp_path / "ct", tmp_path / "mr"], ["{}_CT", "{}_MR"]
    alone = find_cases(folders, match=match)
    assert [case.name for case in alone] == ["10001", "2001", "2002"] * 2
    assert all_series(alone) == ["2", "10"]
    (tmp_path / "names.txt").write_text("2002\n10001_MR.png\n")
    assert len(find_cases(folders, [tmp_path / "names.txt"], match=match)) == 4
    with pytest.warns(FusekitWarning, match=r"1 image left out, which --match '\{\}_CT' fits: scout\.png"):
        together = find_cases(folders, match=match, sources=2)
    assert [case.name for case in together] == ["10001", "2001", "2002"]
    assert together[0].files == (tmp_path / "ct" / "10001_CT.png", tmp_path / "mr" / "10001_MR.png")
    with pytest.raises(InputError, match="is given twice"):
        find_cases([folders[0], folders[0]])
    (tmp_path / "ct" / "scout.png").unlink()
    (tmp_path / "names.txt").write_text("2002\n9\n8\n")
    with pytest.raises(TrainingError, match="lists 2 names that none of the folders holds: 9, 8"):
        find_cases(folders, [tmp_path / "names.txt"], match=match)
    with pytest.raises(TrainingError, match="lists 2 names not in all of the folders: 9, 8"):
        find_cases(folders, [tmp_path / "names.txt"], match=match, sources=2)


def test_lists_of_names_are_of_all_folders_or_of_one_each(tmp_path: Path) -> None:
    for folder in ("ct", "mr", "pet"):
        for name in ("2001", "2002", "10001"):
            write_texture(tmp_path / folder / f"{name}.png", 1)
    folders = [tmp_path / folder for folder in ("ct", "mr", "pet")]
    lists = [tmp_path / f"{number}.txt" for number in range(3)]
    for path, text in zip(lists, ("2001\n2002\n", "10001\n", "2002\n"), strict=True):
        path.write_text(text)
    found = find_cases(folders, lists)
    assert [(case.files[0].parent.name, case.name) for case in found] == [
        ("ct", "2001"), ("ct", "2002"), ("mr", "10001"), ("pet", "2002"),
    ]  # fmt: skip
    assert describe(found, lists)["names"] == ["0.txt", "1.txt", "2.txt"]
    assert describe(found, lists[:1])["names"] == "0.txt"
    with pytest.raises(TrainingError, match="2 lists of names and 3 folders are given; give one list for all"):
        find_cases(folders, lists[:2])
    with pytest.raises(TrainingError, match=r"2 registered sources; .*, not 3 folders"):
        find_cases(folders, lists, sources=2)
    lists[1].write_text("7\n")
    with pytest.raises(TrainingError, match=r"1\.txt lists 1 name that its folder does not hold: 7"):
        find_cases(folders, lists)


def test_series_are_held_out_whole(series_folder: Path) -> None:
    cases = find_cases([series_folder])
    assert all_series(cases) == ["2", "10", "41"]
    training, held_out = hold_out(cases, ["41", "2"])
    assert all_series(training) == ["10"]
    assert len(training) == 3
    assert {*training, *held_out} == set(cases)
    with pytest.raises(TrainingError, match="no image is of the series '4' to validate on; series: 2, 10, 41"):
        hold_out(cases, ["4"])
    with pytest.raises(TrainingError, match="all series are held out"):
        hold_out(cases, ["2", "10", "41"])
