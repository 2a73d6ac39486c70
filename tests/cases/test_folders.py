"""Files of several folders matched by their names."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from helpers.cli import run_cli, texture, write_texture
from helpers.limits import bound_by_permissions, public_folder
from helpers.pairs import CT, MRI, NAMES, OUT, assert_refused, fuse_pairs, make_pairs, outputs, with_records
from helpers.paths import SHARED

from fusekit.batch.run import find_cases, fuse_folders
from fusekit.errors import InputError
from fusekit.images.files import encode_image
from fusekit.images.image import from_pixels


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


# --- names taken whole -------------------------------------------------------------------------------------------


def write_both(*names: str | bytes) -> None:
    """Write an image of each name into both folders, in place of those that are there."""
    for folder in (CT, MRI):
        for path in folder.iterdir():
            path.unlink()
        data = encode_image(from_pixels(texture(len(folder.name), 16, 16)), "a.png")
        for name in names:
            (folder / os.fsdecode(name)).write_bytes(data)


WHOLE = ["s1", "s1.5", "1.2.840.113619.2.1", "a b [1]", "# first", "ends.", "ü", "x.png"]


def test_names_with_dots_are_names_of_their_own() -> None:
    write_both(*(f"{name}.png" for name in WHOLE))
    assert fuse_pairs("--no-record").out == "out: 8 fused\n"
    assert outputs() == {f"{name}.png" for name in WHOLE}
    Path("names.txt").write_text("s1.5\n1.2.840.113619.2.1\n# first\nx.png\n")
    assert fuse_pairs("--names", "names.txt", output="some") == (0, "some: 4 fused\n", "")
    found = {path.name.removesuffix(".png") for path in Path("some").glob("*.png")}
    assert found == {"s1.5", "1.2.840.113619.2.1", "# first", "x.png"}


def test_hidden_files_are_none_of_the_images() -> None:
    write_both("p1.png", "._p1.png", ".hidden.png")
    assert fuse_pairs() == (0, "out: 1 fused\n", "")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the system has no such names")
def test_names_that_are_no_utf_8_are_fused_and_recorded() -> None:
    write_both(b"p\xff\xfe.5.png", "p1.png")
    code, out, err = fuse_pairs("--json")
    assert (code, err) == (0, "")
    name = os.fsdecode(b"p\xff\xfe.5")
    assert json.loads(out)["done"] == sorted(["p1", name])
    record = json.loads((OUT / f"{name}.png.json").read_text(encoding="utf-8"))
    assert record["sources"][0]["path"] == str(CT / f"{name}.png")
    assert fuse_pairs() == (0, "out: 2 there already\n", "")
    # The same bytes in a list, and in one that writes them as JSON does.
    Path("names.txt").write_bytes(b"p\xff\xfe.5\n")
    Path("names.json").write_text(json.dumps([f"{name}.png"]))
    for names in ("names.txt", "names.json"):
        assert fuse_pairs("--names", names, "--overwrite").out == "out: 1 fused\n"


def test_forms_of_unicode_match() -> None:
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    write_both()
    write_texture(CT / f"{decomposed}.png", 1, 16, 16)
    write_texture(MRI / f"{composed}.png", 2, 16, 16)
    if len({path.name for path in (*CT.iterdir(), *MRI.iterdir())}) < 2:
        pytest.skip("the file system keeps one form of a name")
    assert fuse_pairs() == (0, "out: 1 fused\n", "")
    # Outputs are called as their first sources.
    assert {path.name for path in OUT.glob("*.png")} == {f"{decomposed}.png"}
    for form in (composed, decomposed):
        Path("names.txt").write_text(form, encoding="utf-8")
        assert fuse_pairs("--names", "names.txt") == (0, "out: 1 there already\n", "")
    write_texture(MRI / f"{decomposed}.png", 2, 16, 16)
    message = "'Mu\\u0308ller.png' and 'M\\xfcller.png', which differ in nothing but the Unicode form"
    assert_refused(fuse_pairs(), message)


def test_names_that_are_as_long_as_names_can_be() -> None:
    longest = 255 - len(".png")
    write_both("n" * longest + ".png", "m" * (longest - len(".json")) + ".png")
    code, out, err = fuse_pairs()
    assert (code, out) == (1, "out: 1 fused, 1 failed\n")
    long = "n" * longest
    assert err == (
        f"fusekit: {long}: cannot write out/{long}.png.json: its name is too long for the file system; choose a "
        "shorter one, or leave the record out by --no-record\n"
    )
    assert outputs() == {"m" * (longest - len(".json")) + end for end in (".png", ".png.json")}
    assert fuse_pairs("--no-record").out == "out: 1 fused, 1 there already\n"
    assert all(not name.startswith(".") for name in outputs())


def test_names_that_no_folder_holds_are_counted_and_named() -> None:
    Path("names.txt").write_text("01\n" + "".join(f"x{number}\n" for number in range(9)))
    code, out, err = fuse_pairs("--names", "names.txt")
    assert (code, out) == (1, "out: 1 fused, 9 failed\n")
    assert err == "fusekit: 9 sets (x0, x1, x2, x3, x4 and 4 more): in none of the 2 folders\n"
    Path("names.txt").write_text("x1\nx2.png\n")
    message = "of the 2 names that names.txt lists (x1, x2) none is in all of ct, mri: ct holds '01.png' and '02.png'"
    assert_refused(fuse_pairs("--names", "names.txt"), message)


# --- patterns ----------------------------------------------------------------------------------------------------


@pytest.fixture
def _suffixed() -> None:
    for folder in (CT, MRI):
        for path in folder.iterdir():
            path.rename(folder / f"p{path.stem}_{folder.name.upper()}{path.suffix}")


@pytest.mark.usefixtures("_suffixed")
def test_suffixes_are_matched_by_patterns() -> None:
    told = fuse_pairs()
    assert_refused(
        told, "no file name is in all of ct, mri: ct holds 'p01_CT.png' and 'p02_CT.png', mri holds 'p01_MRI"
    )
    assert "these match by --match '{}_CT' --match '{}_MRI'" in told.err
    # What the error proposes is what works, as a shell reads it.
    proposed = shlex.split(told.err.partition("these match by ")[2])
    assert fuse_pairs(*proposed) == (0, "out: 4 fused\n", "")
    # Outputs are called as what the names have in common, with the first source's extension.
    assert outputs() == with_records([f"p{name}" for name in NAMES])
    assert fuse_pairs(*proposed) == (0, "out: 4 there already\n", "")
    Path("names.txt").write_text("p01\np02_MRI.png\np03_CT\n")
    assert fuse_pairs(*proposed, "--names", "names.txt", output="some") == (0, "some: 3 fused\n", "")
    summary = fuse_folders([CT, MRI], "python", "pixel", match=["{}_CT", "{}_MRI"])
    assert summary.done == [f"p{name}" for name in NAMES]
    assert summary.run["match"] == ["{}_CT", "{}_MRI"]


@pytest.mark.usefixtures("_suffixed")
def test_one_folder_may_hold_all_sources() -> None:
    for path in MRI.iterdir():
        path.rename(CT / path.name)
    patterns = ["--match", "{}_CT", "--match", "{}_MRI"]
    command = ["fuse", "--pairs", "ct", "ct/", "-o", "out", "--rule", "mean"]
    assert run_cli([*command, *patterns]) == (0, "out: 4 fused\n", "")
    assert_refused(run_cli([*command, "--match", "{}_CT", "--match", "{}_CT"]), "ct is given twice")
    (CT / "strange.png").write_bytes(b"")
    code, out, err = run_cli([*command, *patterns])
    assert (code, out) == (0, "out: 4 there already\n")
    left = "ct: 1 image left out, which none of --match '{}_CT' --match '{}_MRI' fits: strange.png"
    assert err == f"fusekit: warning: {left}\n"


@pytest.mark.usefixtures("_suffixed")
@pytest.mark.parametrize(
    ("match", "message"),
    [
        (["{}_CT"], "--match is given once for 2 folders"),
        (["{}_CT", "{}_PET"], "mri holds 'p01_MRI.png', which --match '{}_PET' does not fit"),
        (["p0*_{}", "{}_MRI"], "ct holds both p01_CT.png and p02_CT.png, in which --match 'p0*_{}' finds one name"),
        (["ct", "mri"], "--match 'ct' needs {} once"),
    ],
)
def test_patterns_that_do_not_match(match: list[str], message: str) -> None:
    assert_refused(fuse_pairs(*(word for text in match for word in ("--match", text))), message)


def test_what_folders_without_a_match_hold_is_said() -> None:
    for path in MRI.iterdir():
        path.unlink()
    (MRI / "readme.txt").write_text("")
    assert_refused(fuse_pairs(), "ct holds '01.png' and '02.png', mri holds no image; images are matched by file name")
    write_texture(MRI / "A.png", 1)
    write_texture(CT / "a.png", 1)
    assert_refused(fuse_pairs(), "and capitals count; rename those of one folder")


# --- one folder twice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["ct", "./ct", "ct/", "mri/../ct", "link"])
def test_a_folder_is_not_matched_with_itself(second: str) -> None:
    Path("link").symlink_to("ct")
    message = "is given twice" if Path(second) == CT else f"ct and {Path(second)} are one folder"
    assert_refused(run_cli(["fuse", "--pairs", "ct", second, "-o", "out"]), message)
    assert not OUT.exists()
    assert_refused(run_cli(["evaluate", "ct", second, "--fused", "mri"]), message)
    with pytest.raises(InputError, match=message):
        fuse_folders([CT, Path(second)], OUT, "pixel")


def test_folders_that_hold_the_same_are_said() -> None:
    shutil.rmtree(MRI)
    shutil.copytree(CT, MRI)
    code, out, err = fuse_pairs()
    assert (code, out) == (0, "out: 4 fused, 4 with a doubt about copies\n")
    assert re.match(r"fusekit: warning: ct/0\d\.png and mri/0\d\.png hold the same bytes", err)
    assert err.count("\n") == 1
    assert json.loads((OUT / "02.png.json").read_text())["doubts"]


# --- folders that cannot be read ---------------------------------------------------------------------------------


def test_folders_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    # Once with all rights, so that everything is imported.
    fuse_pairs(output="before")
    with public_folder() as folder:
        monkeypatch.chdir(folder)
        make_pairs(NAMES)
        for path in (*CT.rglob("*"), *MRI.rglob("*"), CT, MRI):
            path.chmod(0o777)
        OUT.mkdir(mode=0o777)
        OUT.chmod(0o555)
        write_texture(Path("inner") / "locked" / "01.png", 1, 16, 16)
        Path("inner").chmod(0)
        one = ["fuse", "ct/01.png", "mri/01.png", "--rule", "mean", "-o"]
        with bound_by_permissions():
            assert_refused(fuse_pairs(), "cannot write in the folder out: no permission to write in out")
            assert_refused(run_cli([*one, "out/x.png"]), "cannot write out/x.png: no permission to write in out")
            assert_refused(run_cli([*one, "inner/x.png"]), "cannot write inner/x.png: Permission denied")
            assert_refused(fuse_pairs(output="inner/out"), "cannot make the folder inner/out: Permission denied")
            locked = ["fuse", "--pairs", "ct", "inner/locked", "-o", "new"]
            assert_refused(run_cli(locked), "cannot read the folder inner/locked: Permission denied")
            file = ["fuse", "ct/01.png", "inner/locked/01.png", "-o", "x.png"]
            assert_refused(run_cli(file), "cannot read inner/locked/01.png: Permission denied")
            names = fuse_pairs("--names", "inner/names.txt", output="new")
            assert_refused(names, "cannot read the list of names inner/names.txt: Permission denied")
            rated = run_cli(["evaluate", "ct", "inner/locked", "--fused", "mri"])
            assert_refused(rated, "cannot read inner/locked: Permission denied")
        MRI.chmod(0)
        with bound_by_permissions():
            assert_refused(fuse_pairs(output="new"), "cannot read the folder mri: Permission denied")
        MRI.chmod(0o777)
        (MRI / "02.png").chmod(0)
        Path("new").mkdir(mode=0o777)
        Path("new").chmod(0o777)
        with bound_by_permissions():
            code, out, err = fuse_pairs(output="new")
        assert (code, out) == (1, "new: 3 fused, 1 failed\n")
        assert err == "fusekit: 02: cannot read mri/02.png: Permission denied\n"


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
