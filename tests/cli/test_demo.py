"""``fusekit demo``: the embedded pairs, fused without network or settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.cli import run_cli

from fusekit.evaluation.rate import metric_names
from fusekit.images.files import read_image


@pytest.mark.slow
@pytest.mark.parametrize(("pair", "color"), [("ct-mri", False), ("pet-mri", True)])
def test_the_demo_fuses_and_prints(tmp_path: Path, pair: str, color: bool) -> None:
    folder = tmp_path / "made" / "here"
    code, out, err = run_cli(["demo", "--pair", pair, "-o", folder])
    assert (code, err) == (0, "")
    for metric in metric_names():
        assert any(line.split()[:1] == [metric] for line in out.splitlines()), metric
    target = folder / f"{pair}-fused.png"
    assert str(target) in out
    assert "no clinical meaning" in " ".join(out.split())
    assert {path.name for path in folder.iterdir()} == {
        target.name,
        f"{target.name}.json",
        f"{pair}-side-by-side.png",
    }
    image = read_image(target)
    assert (image.size, image.depth, image.color) == ((256, 256), "uint8", color)
    assert read_image(folder / f"{pair}-side-by-side.png").size == (256, 3 * 256 + 8)
    record = json.loads((folder / f"{target.name}.json").read_text(encoding="utf-8"))
    assert record["rule"]["name"] == "sfnn-local"
    assert record["weights"]["name"] == f"ehdran.{pair}"
    assert [each["modality"] for each in record["sources"]] == pair.split("-")
    assert record["chroma_from"] == (1 if color else None)


@pytest.mark.slow
def test_the_demo_takes_a_rule(tmp_path: Path) -> None:
    assert run_cli(["demo", "-o", tmp_path, "--rule", "max"]).code == 0
    record = json.loads((tmp_path / "ct-mri-fused.png.json").read_text(encoding="utf-8"))
    assert record["rule"]["name"] == "max"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--pair", "ct-pet"], "'ct-pet' is not one of"), (["--rule", "meen"], "unknown fusion rule 'meen'")],
)
def test_what_the_demo_refuses(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, out, err = run_cli(["demo", "-o", tmp_path, *arguments])
    assert (code, out) == (2, "")
    assert err.startswith("fusekit: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    code, out, err = run_cli(["demo", "-o", tmp_path / "taken"])
    assert (code, out) == (2, "")
    assert "cannot make the folder" in err
