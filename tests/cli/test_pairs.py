"""``fusekit fuse --pairs``: folders matched by name, resumable, and going on past what cannot be fused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.cli import run_cli, truncate, write_texture
from helpers.pairs import CT, MRI, NAMES, OUT, fuse_pairs, make_pairs, outputs, with_records

from fusekit.images.files import read_image


@pytest.fixture(autouse=True)
def _in_a_folder_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_pairs(NAMES)


# --- what is fused -----------------------------------------------------------------------------------------------


def test_all_pairs_are_fused() -> None:
    assert fuse_pairs() == (0, "out: 4 fused\n", "")
    assert outputs() == with_records(NAMES)
    record = json.loads((OUT / "03.png.json").read_text(encoding="utf-8"))
    assert [source["path"] for source in record["sources"]] == ["ct/03.png", "mri/03.png"]
    assert read_image(OUT / "03.png").size == (16, 16)


def test_three_folders_and_no_record() -> None:
    for name in NAMES:
        write_texture(Path("pet") / f"{name}.png", 7, 16, 16, channels=3)
    outcome = run_cli(
        ["fuse", "--pairs", "ct", "mri", "pet", "-o", "out", "--rule", "mean", "--weights", "pet-mri", "--no-record"]
    )
    assert outcome == (0, "out: 4 fused\n", "")
    assert outputs() == {f"{name}.png" for name in NAMES}
    assert read_image(OUT / "01.png").color


def test_a_bad_pair_is_told_at_the_end_and_the_others_are_done() -> None:
    truncate(MRI / "02.png")
    (CT / "04.png").unlink()
    code, out, err = fuse_pairs()
    assert (code, out) == (1, "out: 2 fused, 2 failed\n")
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("fusekit: 02: mri/02.png is a damaged PNG file")
    assert lines[1] == "fusekit: 04: missing from folder 1 of 2"
    assert outputs() == with_records(["01", "03"])


def test_a_second_run_skips_what_is_there() -> None:
    fuse_pairs()
    stamps = {path: path.stat().st_mtime_ns for path in OUT.iterdir()}
    (OUT / "02.png").unlink()
    assert fuse_pairs() == (0, "out: 1 fused, 3 there already\n", "")
    changed = {path.name for path in OUT.iterdir() if path.stat().st_mtime_ns != stamps[path]}
    assert changed == with_records(["02"])
    assert fuse_pairs("--overwrite") == (0, "out: 4 fused\n", "")


@pytest.mark.parametrize(
    "options", [("--rule", "max"), ("--bit-depth", "16"), ("--color", "gray"), ("--encoder-option", "dilations=1,2,3")]
)
def test_other_settings_are_warned_of(options: tuple[str, str]) -> None:
    fuse_pairs()
    code, out, err = fuse_pairs(*options)
    assert (code, out) == (0, "out: 4 there already\n")
    assert err.startswith("fusekit: warning: 4 images that were there already, among them 01, were made with other")
    assert err.count("\n") == 1
    assert fuse_pairs(*options, "--overwrite").err == ""
    assert fuse_pairs(*options).err == ""


def test_json_summary() -> None:
    truncate(MRI / "02.png")
    fuse_pairs()
    (OUT / "01.png").unlink()
    code, out, err = fuse_pairs("--json")
    summary = json.loads(out)
    assert code == 1
    assert summary["done"] == ["01"]
    assert summary["skipped"] == ["03", "04"]
    assert list(summary["failed"]) == ["02"]
    assert not summary["interrupted"]
    assert err.startswith("fusekit: 02: ")
