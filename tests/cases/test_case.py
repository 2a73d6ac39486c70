"""Cases: what belongs together, complete or not, and of which patient."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cli import write_texture

from fusekit.cases.case import Case
from fusekit.cases.folders import matched
from fusekit.cases.splits import series_of
from fusekit.errors import InputError


def test_folders_become_cases(tmp_path: Path) -> None:
    for name in ("2001", "10003"):
        write_texture(tmp_path / "ct" / f"{name}.png", 1)
    write_texture(tmp_path / "mri" / "2001.png", 1)
    folders = [tmp_path / "ct", tmp_path / "mri"]
    lone, whole = matched(folders)
    assert whole == Case("2001", (folders[0] / "2001.png", folders[1] / "2001.png"), ("ct", "mri"), "2")
    assert (lone.series, lone.complete, lone.sources[1]) == ("10", False, None)
    with pytest.raises(InputError, match="missing from folder 2 of 2"):
        assert lone.files
    named = matched(folders, roles=("CT", "MR"), series=lambda name: name[:1])
    assert [(case.roles, case.series) for case in named] == [(("CT", "MR"), "1"), (("CT", "MR"), "2")]


def test_every_source_has_a_role() -> None:
    with pytest.raises(InputError, match="has 1 sources and 2 roles; give each a role"):
        Case("a", (Path("a"),), ("ct", "mri"), "a")
    with pytest.raises(InputError, match="the case 'a' states no output"):
        assert Case("a", (Path("a"),), ("ct",), "a").target


def test_a_name_of_another_form_is_its_own_series_unless_the_form_was_promised() -> None:
    assert series_of("brain") == "brain"
    with pytest.raises(InputError, match=r"the image name 'brain' of the dataset 'x' has not the form"):
        series_of("brain", whose="the dataset 'x'")
