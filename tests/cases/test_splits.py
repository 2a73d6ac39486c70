"""Series of images: which file is of which, and which are kept apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusekit.cases.splits import all_series, hold_out, series_of
from fusekit.errors import OptionError, TrainingError
from fusekit.train.data import find_cases


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
