"""``evaluate`` says what there is and is not rated: cases, fused images, images of the sources."""

from __future__ import annotations

import json
import warnings

import pytest
from helpers.cli import run_cli, write_texture
from helpers.comparisons import write_folders

from fusekit.errors import FusekitWarning, InputError
from fusekit.evaluation.compare import compare

NAMES = [f"{number:02}" for number in range(9)]


def warned(call):
    """Return what a call returns, and the lines that it warned with."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FusekitWarning)
        found = call()
    return found, [str(each.message) for each in caught if issubclass(each.category, FusekitWarning)]


def test_cases_without_a_fused_image(tmp_path):
    sources = write_folders(tmp_path, NAMES, {"few": NAMES[:2]})
    comparison, lines = warned(lambda: compare(sources, {"few": tmp_path / "few"}, ["ssim"]))
    assert comparison.images == NAMES[:2]
    assert lines == [
        "few lacks 7 of 9 cases, which are not rated: 02, 03, 04, 05, 06 and 2 more; fuse them too, or choose cases by "
        "--names"
    ]
    assert comparison.left_out.cases == 9
    assert comparison.left_out.lacking == {"few": NAMES[2:]}


def test_methods_with_different_cases_are_rated_on_those_they_share(tmp_path):
    fused = {"one": NAMES[:6], "two": NAMES[4:], "full": NAMES}
    sources = write_folders(tmp_path, NAMES, fused)
    comparison, lines = warned(lambda: compare(sources, {name: tmp_path / name for name in fused}, ["ssim"]))
    assert comparison.images == NAMES[4:6]
    assert [line.partition(":")[0] for line in lines] == [
        "one lacks 3 of 9 cases, which are not rated",
        "two lacks 4 of 9 cases, which are not rated",
        "all methods are rated on the 2 cases that each of them has",
    ]
    assert comparison.left_out.lacking == {"one": NAMES[6:], "two": NAMES[:4], "full": []}


def test_fused_images_and_sources_that_match_nothing(tmp_path):
    sources = write_folders(tmp_path, NAMES[:2], {"x": NAMES[:2]})
    write_texture(tmp_path / "x" / "montage.png", 1)
    write_texture(sources[0] / "07.png", 1)
    write_texture(tmp_path / "x" / "07.png", 1)
    comparison, lines = warned(lambda: compare(sources, {"x": tmp_path / "x"}, ["ssim"]))
    assert comparison.images == NAMES[:2]
    assert lines == [
        "x holds 1 image of no case, not rated: montage.png; a fused image is called as its sources are",
        "source-2 lacks 1 image that another source has: 07",
    ]


def test_nothing_is_said_where_nothing_is_left_out(tmp_path):
    sources = write_folders(tmp_path, NAMES[:3], {"x": NAMES[:3], "y": NAMES[:3]})
    (tmp_path / "x" / "00.png.json").write_text("{}")
    both = {name: tmp_path / name for name in "xy"}
    assert warned(lambda: compare(sources, both, ["ssim"]))[1] == []
    # A list chooses: what it leaves out is meant.
    (tmp_path / "names.txt").write_text("00\n02.png\n")
    comparison, lines = warned(lambda: compare(sources, both, ["ssim"], str(tmp_path / "names.txt")))
    assert (comparison.images, lines) == (["00", "02"], [])


def test_a_listed_name_must_be_everywhere(tmp_path):
    sources = write_folders(tmp_path, NAMES[:3], {"x": NAMES[:2]})
    names = tmp_path / "names.txt"
    for listed, lacking in (("00\n02\n", tmp_path / "x"), ("00\n01\n", sources[1])):
        names.write_text(listed)
        with pytest.raises(InputError, match=f"lists 0[12], which {lacking} lacks; add it, or take it off the list"):
            compare(sources, {"x": tmp_path / "x"}, ["ssim"], str(names))
        (sources[1] / "01.png").unlink(missing_ok=True)


def test_nothing_in_common_says_what_is_there(tmp_path):
    sources = write_folders(tmp_path, NAMES, {"x": [], "early": NAMES[:3], "late": NAMES[5:]})
    for name in NAMES:
        write_texture(tmp_path / "x" / f"{name}_fused.png", 1, 32, 40)
    with pytest.raises(InputError) as failed:
        compare(sources, {"x": tmp_path / "x"}, ["ssim"])
    assert str(failed.value) == (
        f"{tmp_path / 'x'} has a fused image of none of the 9 cases: it holds '00_fused.png', '01_fused.png', and the "
        "sources '00.png', '00.png'; images are matched by file name without extension; these match by "
        "--match '{}' --match '{}' and --match '{}_fused'"
    )
    # What is proposed works.
    match = ["{}", "{}", "{}_fused"]
    write_texture(tmp_path / "x" / "overview.png", 1)
    comparison, lines = warned(lambda: compare(sources, {"x": tmp_path / "x"}, ["ssim"], match=match))
    assert comparison.images == NAMES
    assert lines == ["x holds 1 image of no case, not rated: overview.png; a fused image is called as its sources are"]
    with pytest.raises(InputError, match="has a fused image of every method: early has 00, 01, 02; late has 05"):
        compare(sources, {name: tmp_path / name for name in ("early", "late")}, ["ssim"])


def test_one_folder_for_both_sources(tmp_path):
    sources = write_folders(tmp_path, NAMES[:2], {"x": NAMES[:2]})
    both = tmp_path / "both"
    both.mkdir()
    for folder, what in zip(sources, ("CT", "MR"), strict=True):
        for path in folder.iterdir():
            path.rename(both / f"{path.stem}_{what}.png")
    comparison = compare([both, both], {"x": tmp_path / "x"}, ["ssim"], match=["{}_CT", "{}_MR"])
    assert comparison.sources == [f"{both} {{}}_CT", f"{both} {{}}_MR"]


def test_one_source_is_enough(tmp_path):
    sources = write_folders(tmp_path, NAMES[:3], {"x": NAMES[:2]}, sources=1)
    comparison, lines = warned(lambda: compare(sources, {"x": tmp_path / "x"}, ["ssim", "en"]))
    assert len(lines) == 1
    assert comparison.copying("x") is None


def test_the_command_says_it_and_writes_it(tmp_path):
    fused = {"few": NAMES[:2], "more": NAMES[:4]}
    sources = write_folders(tmp_path, NAMES, fused)
    arguments = ["evaluate", *sources, "--fused", tmp_path / "few", "--fused", tmp_path / "more", "--metrics", "ssim"]
    code, out, err = run_cli([*arguments, "--json", "--html", tmp_path / "page.html"])
    assert code == 0
    assert err.splitlines() == [
        "fusekit: warning: few lacks 7 of 9 cases, which are not rated: 02, 03, 04, 05, 06 and 2 more; fuse them too, "
        "or choose cases by --names",
        "fusekit: warning: more lacks 5 of 9 cases, which are not rated: 04, 05, 06, 07, 08; fuse them too, or choose "
        "cases by --names",
        "fusekit: warning: all methods are rated on the 2 cases that each of them has",
    ]
    data = json.loads(out)
    assert data["images"] == NAMES[:2]
    assert data["left_out"]["lacking"] == {"few": NAMES[2:], "more": NAMES[4:]}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "few lacks 7 of 9 cases" in page
    assert "<h1>2 methods rated on 2 of 9 cases</h1>" in page
    assert run_cli(arguments).out.startswith("2 of 9 cases")
    # All names stand behind the first few.
    assert "<li>08</li>" in page


def test_a_case_that_fails_names_the_method(tmp_path):
    sources = write_folders(tmp_path, NAMES[:3], {"x": NAMES[:3], "y": NAMES[:3]})
    (tmp_path / "y" / "01.png").write_bytes(b"nothing")
    code, out, err = run_cli(
        ["evaluate", *sources, "--fused", tmp_path / "x", "--fused", tmp_path / "y", "--metrics", "ssim", "--json"]
    )
    assert code == 1
    assert json.loads(out)["images"] == ["00", "02"]
    assert err.count("\n") == 1
    assert err.startswith("fusekit: 01: y: ")
