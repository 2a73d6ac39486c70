"""Files of several folders matched by their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.cli import run_cli, write_texture
from helpers.pairs import MRI, NAMES, OUT, assert_refused, fuse_pairs, make_pairs, outputs, with_records
from helpers.paths import SHARED

from fusekit.batch.run import find_cases
from fusekit.errors import InputError


@pytest.fixture(autouse=True)
def _in_a_folder_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_pairs(NAMES)


def test_names_from_text_and_json() -> None:
    Path("names.txt").write_text("03.png\n\n01\n")
    assert fuse_pairs("--names", "names.txt").out == "out: 2 fused\n"
    assert outputs() == with_records(["01", "03"])
    Path("splits.json").write_text(json.dumps({"ct-mri": {"test": ["02.png", "09.png"]}}))
    code, out, err = fuse_pairs("--names", "splits.json#/ct-mri/test")
    assert (code, out) == (1, "out: 1 fused, 1 failed\n")
    assert err == "fusekit: 09: in none of the 2 folders\n"
    assert_refused(fuse_pairs("--names", "splits.json#/ct-mri/train"), "'train' is not among its keys (test)")
    assert_refused(fuse_pairs("--names", "splits.json"), "is not a list of file names")
    assert_refused(fuse_pairs("--names", "absent.txt"), "cannot read the list of names absent.txt")


def test_extensions_may_differ() -> None:
    for name in NAMES:
        (MRI / f"{name}.png").unlink()
        write_texture(MRI / f"{name}.TIF", 9, 16, 16)
    assert fuse_pairs() == (0, "out: 4 fused\n", "")
    assert outputs() == with_records(NAMES)


def test_two_files_of_one_name_are_refused() -> None:
    write_texture(MRI / "02.tif", 9, 16, 16)
    assert_refused(fuse_pairs(), "mri holds both 02.png and 02.tif; keep one of them")


@pytest.mark.parametrize(
    ("folders", "output", "message"),
    [
        (["ct", "mri"], "mri", "the output folder mri is one of the sources"),
        (["ct", "mri"], "ct/../mri/", "is one of the sources"),
        (["ct", "mri"], "ct/01.png", "cannot make the folder ct/01.png"),
        (["ct", "absent"], "out", "there is no folder absent"),
        (["ct", "ct/01.png"], "out", "ct/01.png is a file, and --pairs takes folders"),
        (["ct", "."], "out", "no file name is in all of ct, ."),
        (["ct"], "out", "fusing needs two or more folders, and only ct was given"),
    ],
)
def test_folders_that_cannot_be_fused(folders: list[str], output: str, message: str) -> None:
    assert_refused(run_cli(["fuse", "--pairs", *folders, "-o", output]), message)


def test_the_test_pairs_of_the_shared_data() -> None:
    harvard = SHARED / "data" / "harvard"
    if not harvard.is_dir():
        pytest.skip("the shared data are not here; FUSEKIT_SHARED names their folder")
    folders = [harvard / "ct-mri" / name for name in ("ct", "mri")]
    cases = find_cases(folders, OUT, f"{harvard / 'splits.json'}#/ct-mri/test")
    assert len(cases) == 38
    assert all(path is not None and path.stem == case.name for case in cases for path in case.sources)
    with pytest.raises(InputError, match="has no part"):
        find_cases(folders, OUT, f"{harvard / 'splits.json'}#/ct-mri/absent")
