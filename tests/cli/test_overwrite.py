"""What is there already: no command replaces or deletes it unless that is asked for, and what others wrote never."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.cli import run_cli, texture, write_texture
from helpers.pairs import assert_refused, fuse_pairs, make_pairs

import fusekit
from fusekit.errors import FusekitWarning, OutputError, TrainingError
from fusekit.record import belongs_to, read_record

FOREIGN = '{"patient": "anonymous"}\n'
FUSE = ["fuse", "ct.png", "mri.png", "-o", "out.png", "--rule", "mean"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_texture(Path("ct.png"), 1)
    write_texture(Path("mri.png"), 2)


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


# --- images and their records ------------------------------------------------------------------------------------


def test_an_image_is_replaced_when_asked() -> None:
    assert run_cli(FUSE).code == 0
    before = contents()
    assert_refused(run_cli([*FUSE[:-1], "max"]), "cannot write out.png: it is there already; --overwrite replaces it")
    assert contents() == before
    assert run_cli([*FUSE[:-1], "max", "--overwrite"]).code == 0
    assert contents() != before
    record = read_record(Path("out.png"))
    assert record is not None
    assert record["rule"]["name"] == "max"
    assert belongs_to(record, Path("out.png"))


@pytest.mark.parametrize("link", ["there", "nowhere"])
def test_a_link_is_there_already(link: str) -> None:
    Path("there").write_bytes(b"of others")
    Path("out.png").symlink_to(link)
    assert_refused(run_cli(FUSE), "it is there already")
    assert run_cli([*FUSE, "--overwrite"]).code == 0
    # The link is replaced, and not what it leads to.
    assert Path("there").read_bytes() == b"of others"
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_what_stands_in_the_place_of_a_record_stays(more: list[str]) -> None:
    for content in (FOREIGN, "no JSON", "[]", "[" * 100_000, '{"sources": [], "output": {}, "model": {}}'):
        Path("out.png.json").write_text(content)
        assert_refused(run_cli([*FUSE, *more]), "cannot write out.png.json: it is there already and is no record")
        assert Path("out.png.json").read_text() == content
        assert not Path("out.png").exists()


def test_without_a_record_only_records_of_ours_are_deleted() -> None:
    Path("out.png.json").write_text(FOREIGN)
    code, out, err = run_cli([*FUSE, "--no-record"])
    assert (code, out) == (0, "out.png\n")
    assert err == (
        "fusekit: warning: out.png.json is no record of fusekit and was left as it is; it does not tell of out.png\n"
    )
    assert Path("out.png.json").read_text() == FOREIGN
    Path("out.png.json").unlink()
    assert run_cli([*FUSE, "--overwrite"]).code == 0
    # Of another image than the one that takes its place.
    assert run_cli([*FUSE, "--overwrite", "--no-record"]) == (0, "out.png\n", "")
    assert not Path("out.png.json").exists()


def test_python_does_the_same() -> None:
    fused = fusekit.fuse(["ct.png", "mri.png"], "pixel")
    Path("out.png.json").write_text(FOREIGN)
    with pytest.raises(OutputError, match="is no record of fusekit, so it stays"):
        fused.save("out.png")
    with pytest.warns(FusekitWarning, match="is no record of fusekit and was left as it is"):
        fused.save("out.png", record=False)
    with pytest.raises(OutputError, match="it is there already; --overwrite replaces it"):
        fused.save("out.png", record=False)
    with pytest.raises(OutputError, match="is one of the sources"):
        fused.save("ct.png", overwrite=True)
    assert Path("out.png.json").read_text() == FOREIGN


def test_a_record_of_an_image_that_was_never_put_in_its_place_is_told_of() -> None:
    make_pairs(["01", "02"])
    fuse_pairs()
    # So a process leaves it that is killed between the two: the record of the new image beside the old one.
    image, record = Path("out/01.png"), Path("out/01.png.json")
    changed = json.loads(record.read_text(encoding="utf-8"))
    changed["output"]["sha256"] = "0" * 64
    record.write_text(json.dumps(changed), encoding="utf-8")
    os.utime(image, ns=(0, 0))
    code, out, err = fuse_pairs()
    assert (code, out) == (0, "out: 2 there already\n")
    assert "1 images that were there already, among them 01, were made with other settings" in err
    # Files that are only copied have new times and the same digests.
    os.utime(Path("out/02.png"), ns=(0, 0))
    assert fuse_pairs().err == err


def test_folders_leave_what_others_wrote() -> None:
    make_pairs(["01", "02", "03"])
    Path("out").mkdir()
    Path("out/01.png.json").write_text(FOREIGN)
    Path("out/02.png").mkdir()
    for more in ([], ["--overwrite"]):
        code, _, err = fuse_pairs(*more)
        assert code == 1
        assert "fusekit: 01: cannot write out/01.png.json: it is there already and is no record of fusekit" in err
        assert "fusekit: 02: cannot write out/02.png: it is a folder; name a file in it" in err
    code, out, err = fuse_pairs("--no-record", "--overwrite")
    assert (code, out) == (1, "out: 2 fused, 1 failed, 1 with a doubt about record\n")
    assert "out/01.png.json is no record of fusekit" in err
    assert Path("out/01.png.json").read_text() == FOREIGN


# --- other commands ----------------------------------------------------------------------------------------------


def test_tables_and_pages_are_replaced_when_asked() -> None:
    for option in ("--csv", "--html"):
        command = ["evaluate", "ct.png", "mri.png", "--fused", "ct.png", "--metrics", "en", option]
        Path("table").write_text(FOREIGN)
        assert_refused(run_cli([*command, "table"]), "cannot write table: it is there already; --overwrite replaces it")
        assert Path("table").read_text() == FOREIGN
        assert run_cli([*command, "table", "--overwrite"]).code == 0
        assert Path("table").read_text() != FOREIGN
        assert_refused(run_cli([*command, "mri.png", "--overwrite"]), "the output mri.png is one of the sources")
        assert_refused(
            run_cli([*command, "/dev/null", "--overwrite"]), "it is not a regular file but a device; name a file"
        )
    both = ["evaluate", "ct.png", "mri.png", "--fused", "ct.png", "--csv", "a", "--html", "a"]
    assert_refused(run_cli(both), "--csv and --html are both a; name two files")


def test_converted_weights_are_replaced_when_asked() -> None:
    from fusekit_ehdran.model import DILRAN

    torch.save(DILRAN().state_dict(), "authors.pth")
    Path("out.safetensors").write_text(FOREIGN)
    command = ["weights", "convert", "--model", "dilran", "authors.pth", "-o", "out.safetensors"]
    assert_refused(run_cli(command), "cannot write out.safetensors: it is there already; --overwrite replaces it")
    assert Path("out.safetensors").read_text() == FOREIGN
    assert run_cli([*command, "--overwrite"]).code == 0
    itself = ["weights", "convert", "--model", "dilran", "out.safetensors", "-o", "./out.safetensors", "--overwrite"]
    assert_refused(run_cli(itself), "it is the checkpoint itself; choose another name")


@pytest.mark.slow
def test_the_demo_replaces_its_own_outputs_only() -> None:
    for _ in range(2):
        assert run_cli(["demo", "-o", "demo"]).code == 0
    for name in ("ct-mri-fused.png", "ct-mri-side-by-side.png", "ct-mri-fused.png.json"):
        folder = Path(f"foreign-{name}")
        folder.mkdir()
        (folder / name).write_text(FOREIGN)
        assert_refused(run_cli(["demo", "-o", folder]), f"cannot write {folder / name}: it is there already")
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == FOREIGN


def write_readme() -> Path:
    Path("run").mkdir()
    Path("run/README.md").write_text("mine\n")
    return Path("run/README.md")


def write_config() -> Path:
    Path("run").mkdir()
    Path("run/config.json").write_text(FOREIGN)
    return Path("run/config.json")


@pytest.mark.parametrize("make", [write_readme, write_config])
def test_a_training_begins_beside_nothing_of_others(make: Callable[[], Path]) -> None:
    from fusekit.train.recipe import Recipe
    from fusekit.train.trainer import Trainer

    foreign = make()
    content = foreign.read_text()
    model = fusekit.load("dilran", form="plain")
    image = torch.from_numpy(texture(1, 32, 32, depth="float32"))[None]
    trainer = Trainer(model, [image], Recipe(steps=1, crop=16, perceptual_weight=0), Path("run"))
    with pytest.raises(TrainingError, match=f"{foreign} is there already, and is of no training; choose another"):
        trainer.run()
    assert contents()[foreign].decode() == content
    assert list(Path("run").iterdir()) == [foreign]


def test_a_model_is_saved_beside_nothing_of_others() -> None:
    model = fusekit.load("dilran")
    model.save("mine")
    model.save("mine")
    for name in ("config.json", "model.safetensors"):
        folder = Path(f"foreign-{name}")
        folder.mkdir()
        (folder / name).write_text(FOREIGN)
        with pytest.raises(OutputError, match=r"it is there already, and .* holds no weights of fusekit"):
            model.save(folder)
        assert (folder / name).read_text() == FOREIGN
        assert [path.name for path in folder.iterdir()] == [name]
