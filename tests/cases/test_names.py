"""Lists of names: how they are read, and which images they choose."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import pytest

from fusekit.cases.names import list_name, listed, read_names
from fusekit.errors import FusekitWarning, InputError

FILES = ["s1", "s1.5", "1.2.840.113619.2.1", "a b", "# first", "ü", "x.png", "dot."]


@pytest.fixture
def listing() -> dict[str, Path]:
    return {name: Path("ct") / f"{name}.png" for name in FILES}


def chosen(path: Path, content: str | bytes, *listings: dict[str, Path]) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return listed(path, listings)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("s1", "s1"),
        ("s1.png", "s1"),
        ("s1.PNG", "s1"),
        ("s1.tif", "s1"),
        ("s1.5", "s1.5"),
        ("s1.5.png", "s1.5"),
        ("1.2.840.113619.2.1", "1.2.840.113619.2.1"),
        ("ct/s1.png", "s1"),
        ("/data/x/ct/s1.5", "s1.5"),
        ("C:\\data\\ct\\s1.5.png", "s1.5"),
        ("  s1  ", "s1"),
        ("a b", "a b"),
        ("# first", "# first"),
        ("u\u0308", "ü"),
        ("ü.png", "ü"),
        # A file of that name there is none, and one whose name without extension it is.
        ("x.png", "x.png"),
        ("x.png.png", "x.png"),
        ("dot.", "dot."),
        ("dot..png", "dot."),
        # Of no image.
        ("S1", "S1"),
        ("s1.dcm", "s1.dcm"),
        ("s2.png", "s2"),
    ],
)
def test_what_a_line_names(tmp_path: Path, listing: dict[str, Path], line: str, name: str) -> None:
    assert chosen(tmp_path / "names.txt", f"{line}\n", listing) == [name]


def test_a_file_comes_before_a_name_without_extension(tmp_path: Path) -> None:
    listing = {"x": Path("x.png"), "x.png": Path("x.png.tif")}
    assert chosen(tmp_path / "names.txt", "x.png\nx.png.tif\n", listing) == ["x", "x.png"]


def test_a_line_may_name_a_file_of_any_folder_by_its_own_name(tmp_path: Path) -> None:
    listings = ({"p01": Path("p01_CT.png")}, {"p01": Path("p01_MR.tif"), "p02": Path("p02_MR.tif")})
    assert chosen(tmp_path / "names.txt", "p01_MR.tif\np02_MR\n", *listings) == ["p01", "p02"]


@pytest.mark.parametrize(
    "content",
    [
        "s1\r\n\r\ns1.5\r\n",
        "s1\rs1.5\r",
        "\n\n   \ns1\n\ns1.5",
        codecs.BOM_UTF8 + b"s1\ns1.5\n",
        "s1\r\ns1.5\r\n".encode("utf-16"),
    ],
)
def test_ends_of_lines_marks_and_blank_lines(tmp_path: Path, listing: dict[str, Path], content: str | bytes) -> None:
    assert chosen(tmp_path / "names.txt", content, listing) == ["s1", "s1.5"]


def test_names_that_are_no_utf_8_stay_what_they_are_on_disk(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfep.png")
    assert chosen(tmp_path / "names.txt", b"\n\xff\xfep\n", {name[:-4]: Path(name)}) == [name[:-4]]


def test_what_separates_lines_elsewhere_is_part_of_a_name(tmp_path: Path) -> None:
    names = ["a\x0bb", "a\u2028b", "a\x1cb"]
    listing = {name: Path(f"{name}.png") for name in names}
    assert chosen(tmp_path / "names.txt", "\n".join(names), listing) == names


def test_names_that_are_listed_twice_are_taken_once_and_said(tmp_path: Path, listing: dict[str, Path]) -> None:
    with pytest.warns(
        FusekitWarning, match=r"names\.txt lists 2 names more than once \(s1, s1\.5\); each is taken once"
    ):
        found = chosen(tmp_path / "names.txt", "s1\ns1.5\nct/s1.png\na b\ns1.5.png\ns1\n", listing)
    assert found == ["s1", "s1.5", "a b"]


def test_parts_of_json(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_bytes(codecs.BOM_UTF8 + json.dumps({"a/b": {"~x": ["s1.png"]}, "all": ["s1"]}).encode())
    assert read_names(f"{path}#/a~1b/~0x") == ["s1.png"]
    (tmp_path / "list#2.json").write_text('["s1"]')
    assert read_names(tmp_path / "list#2.json") == ["s1"]
    assert list_name(tmp_path / "list#2.json") == "list#2.json"
    assert list_name(f"{path}#/all") == "splits.json#/all"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n  \n", "lists no name; put one on each line"),
        (b"\x89PNG\0\0\0", "it holds zero bytes; name a text file"),
        (b"\xff\xfes", "cannot read the list of names"),
    ],
)
def test_what_is_no_list(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(tmp_path / "names.txt", content)


def test_json_that_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    for content, message in (
        ("[" * 100_000 + "]" * 100_000, "is not JSON: it is nested more than 64 deep"),
        ("{", "is not JSON"),
        ('{"a": 1}', "is not a list of file names"),
        ("[1]", "is not a list of file names"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_names(path)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
def test_what_never_ends_is_no_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "names.txt")
    with pytest.raises(InputError, match=r"is not a regular file but a pipe \(FIFO\); name a file"):
        read_names(tmp_path / "names.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is not a regular file but a device; name a file"):
        read_names(tmp_path / "zero.txt")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(InputError, match="it has more than 64 MiB; name a text file"):
        read_names(tmp_path / "large.txt")
    with pytest.raises(InputError, match="its name is too long for the file system"):
        read_names(tmp_path / ("n" * 300))
