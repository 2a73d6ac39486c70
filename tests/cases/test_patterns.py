"""Patterns of file names: what they find in names, what they refuse, and which ones are proposed."""

from __future__ import annotations

import pytest

from fusekit.cases import patterns
from fusekit.cases.patterns import Pattern, extension_of, patterns_of, proposed, stem_of
from fusekit.errors import OptionError
from fusekit.images.files import known_extensions


@pytest.mark.parametrize(
    ("name", "stem", "extension"),
    [
        ("s1.png", "s1", ".png"),
        ("s1.5.png", "s1.5", ".png"),
        ("1.2.840.113619.2.1.png", "1.2.840.113619.2.1", ".png"),
        ("s1.5", "s1.5", ""),
        ("1.2.840.113619.2.1", "1.2.840.113619.2.1", ""),
        ("P01.PNG", "P01", ".PNG"),
        ("p01.Tiff", "p01", ".Tiff"),
        ("ends.with.a.dot..png", "ends.with.a.dot.", ".png"),
        ("a b [1] {x}.tif", "a b [1] {x}", ".tif"),
        (" p01 .png", " p01 ", ".png"),
        ("scan.png.jpg", "scan.png", ".jpg"),
        ("notes.txt", "notes.txt", ""),
        (".png", ".png", ""),
        ("\udcff1.5.png", "\udcff1.5", ".png"),
        ("u\u0308.png", "\u00fc", ".png"),
    ],
)
def test_names_are_whole_but_for_the_extension_of_an_image(name: str, stem: str, extension: str) -> None:
    assert (stem_of(name), extension_of(name)) == (stem, extension)


def test_the_longest_extension_is_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    png = known_extensions()[".png"]
    monkeypatch.setattr(patterns, "known_extensions", lambda: {".png": png, ".gz": png, ".nii.gz": png})
    assert (stem_of("p01.nii.gz"), extension_of("p01.NII.gz")) == ("p01", ".NII.gz")
    assert (stem_of("p01.tar.gz"), extension_of("p01.tar.gz")) == ("p01.tar", ".gz")


@pytest.mark.parametrize(
    ("pattern", "name", "common"),
    [
        ("{}", "p01_CT.png", "p01_CT"),
        ("{}_CT", "p01_CT.png", "p01"),
        ("{}_CT", "p01_MR.png", None),
        ("{}_CT", "_CT.png", None),
        ("CT-{}", "CT-p01.tif", "p01"),
        ("{}_CT.png", "p01_CT.png", "p01"),
        ("{}_CT.png", "p01_CT.tif", None),
        ("{}_CT*", "p01_CT_v2.png", "p01"),
        ("{}_*", "p01_a_b.png", "p01"),
        ("*_{}", "study_7_p01.png", "p01"),
        ("sub-{}_ses-*_CT", "sub-01_ses-2_CT.png", "01"),
        ("{}[1]", "p01[1].png", "p01"),
        ("{}.5", "s1.5.png", "s1"),
        ("{}_Ü", "a_U\u0308.png", "a"),
        ("{}_CT", "\udcff_CT.png", "\udcff"),
        ("{}_a*", "x_a\nb.png", "x"),
    ],
)
def test_what_names_have_in_common(pattern: str, name: str, common: str | None) -> None:
    assert Pattern(pattern).common(name) == common


@pytest.mark.parametrize(
    ("match", "message"),
    [
        (["{}_CT"], "--match is given once for 2 folders; give it for each, in their order"),
        (["{}"] * 3, "--match is given 3 times for 2 folders"),
        (["CT", "{}"], "--match 'CT' needs {} once"),
        (["{}{}", "{}"], "needs {} once"),
        (["{}_*_*_*_*", "{}"], "has more than 3 stars"),
        (["ct/{}", "{}"], "is of names, not of paths"),
        ("{}", "match takes a list with a pattern a folder"),
    ],
)
def test_patterns_that_are_none(match: list[str], message: str) -> None:
    with pytest.raises(OptionError) as raised:
        patterns_of(match, 2)
    assert message in str(raised.value)


MANY = [f"{number:03}" for number in range(30)]


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        ([["p01_CT", "p02_CT"], ["p01_MR", "p02_MR"]], ("{}_CT", "{}_MR")),
        ([["p01_CT"], ["p01_MR"]], ("{}_CT", "{}_MR")),
        ([["p01CT", "p02CT"], ["p01MR", "p02MR"]], ("{}CT", "{}MR")),
        ([["CT_p01", "CT_p02"], ["MR_p01", "MR_p02"]], ("CT_{}", "MR_{}")),
        ([["p01"], ["p01-mr"]], ("{}", "{}-mr")),
        ([["b1_t1", "b2_t1"], ["b1_t2", "b2_t2"], ["b1_flair", "b2_flair"]], ("{}_t1", "{}_t2", "{}_flair")),
        # The channels of one scan are numbers, and so are slices.
        ([[f"B_{each}_0000" for each in MANY], [f"B_{each}_0001" for each in MANY]], ("{}_0000", "{}_0001")),
        ([[f"s_{each}" for each in MANY[:15]], [f"s_{each}" for each in MANY[15:]]], None),
        ([["p01"], ["p02"]], None),
        ([["brain"], ["other"]], None),
        ([["a_CT", "b_CT", "c_CT", "d_CT"], ["a_MR", "x", "y", "z"]], None),
        ([[], ["p01_MR"]], None),
    ],
)
def test_patterns_are_proposed_where_names_differ_obviously(
    folders: list[list[str]], found: tuple[str, ...] | None
) -> None:
    assert proposed(folders) == found
