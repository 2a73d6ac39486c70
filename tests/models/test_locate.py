"""Weights that name their model need no other name, and a name that differs from theirs is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import run_cli, texture, write_texture
from safetensors.torch import save_file

import fusekit
from fusekit.batch.executor import CaseFuser
from fusekit.errors import UnknownNameError, WeightsError
from fusekit.machine.files import sha256_of
from fusekit.models.composed import Composed
from fusekit.models.locate import locate
from fusekit.registry.discovery import registries
from fusekit.weights.store import save_weights
from fusekit_ehdran.model import DILRAN, EHDRAN


@pytest.fixture
def dilran(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(model := DILRAN(), tmp_path / "dilran.safetensors", model.header)
    return tmp_path / "dilran.safetensors"


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_texture(tmp_path / "ct" / f"{name}.png", ord(name))
        write_texture(tmp_path / "mri" / f"{name}.png", ord(name) + 5)
    return ["ct/a.png", "mri/a.png"]


@pytest.mark.slow
def test_weights_decide_the_model_where_none_is_named(dilran: Path, pair: list[str]) -> None:
    assert isinstance(fusekit.load(weights=dilran), DILRAN)
    fused = fusekit.fuse(pair, weights=dilran)
    assert fused.record["model"]["name"] == "dilran"
    assert fused.record["load"]["weights"] == str(dilran)
    assert fusekit.fuse_folders(["ct", "mri"], "out", weights=str(dilran)).done == ["a", "b"]
    for output, record in (("out/a.png", "out/a.png.json"), ("one.png", "one.png.json")):
        if output == "one.png":
            assert run_cli(["fuse", *pair, "-o", output, "--weights", dilran]) == (0, "one.png\n", "")
        assert json.loads(Path(record).read_text())["model"]["name"] == "dilran"
    assert run_cli(["fuse", "--pairs", "ct", "mri", "-o", "more", "--weights", dilran.name]).code == 0
    assert json.loads(Path("more/b.png.json").read_text())["model"]["name"] == "dilran"
    assert "model dilran" in run_cli(["demo", "-o", "demo", "--weights", dilran]).out


def test_a_composed_model_is_told_by_its_weights(pair: list[str], tmp_path: Path) -> None:
    config: dict[str, Any] = {"encoder": "dran", "decoder": "conv3", "encoder_options": {"channels": 2}}
    save_weights(Composed(**config), tmp_path / "own.safetensors", {"model": "composed", "config": config})
    assert run_cli(["fuse", *pair, "-o", "out.png", "--rule", "max", "--weights", "own.safetensors"]).code == 0
    assert json.loads(Path("out.png.json").read_text())["model"]["name"] == "composed"


def test_without_names_and_weights_it_is_the_default(pair: list[str]) -> None:
    assert fusekit.load().provenance.weights.name == "ehdran.ct-mri"
    assert fusekit.load(weights="pet-mri").provenance.weights.name == "ehdran.pet-mri"
    assert fusekit.load(modality="pet,mri").provenance.weights.name == "ehdran.pet-mri"


def test_a_model_that_differs_is_a_clear_error(dilran: Path, pair: list[str]) -> None:
    code, out, err = run_cli(["fuse", *pair, "-o", "out.png", "--model", "ehdran", "--weights", dilran.name])
    assert (code, out) == (2, "")
    assert err == (
        "fusekit: error: dilran.safetensors holds weights of the model 'dilran', not of 'ehdran'; name no model, or "
        "load it as 'dilran'\n"
    )
    assert not Path("out.png").exists()


def test_weights_may_be_called_as_listings_and_records_call_them(pair: list[str]) -> None:
    for choices in ({}, {"name": "dilran"}):
        model = fusekit.load(weights="dilran.ct-mri", **choices)  # type: ignore[arg-type]
        assert model.provenance.weights.name == "dilran.ct-mri"
        assert model.provenance.options.weights == "dilran.ct-mri"
    digest = model.provenance.weights.sha256
    assert isinstance(fusekit.load(weights=f"dilran.ct-mri#sha256={digest}"), DILRAN)
    with pytest.raises(
        WeightsError, match=r"dilran\.ct-mri are weights of the model 'dilran', not of 'ehdran'; name no"
    ):
        fusekit.load("ehdran", weights="dilran.ct-mri")
    with pytest.raises(WeightsError, match=r"there is no weights file dilran\.ct-mir"):
        fusekit.load(weights="dilran.ct-mir")


def test_bare_weights_are_tried_with_the_default_model(tmp_path: Path) -> None:
    save_file(EHDRAN().state_dict(), tmp_path / "bare.safetensors")
    assert isinstance(fusekit.load(weights=tmp_path / "bare.safetensors"), EHDRAN)
    save_file(DILRAN().state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit the model 'ehdran': .*name the model that these weights"):
        fusekit.load(weights=tmp_path / "other.safetensors")
    (tmp_path / "config.json").write_text('{"model": "dilran"}')
    assert isinstance(fusekit.load(weights=tmp_path / "other.safetensors"), DILRAN)


def test_a_model_that_nobody_registered_names_the_file(tmp_path: Path, dilran: Path) -> None:
    save_weights(EHDRAN(), tmp_path / "far.safetensors", {"model": "fardran", "config": {}})
    far: list[dict[str, Any]] = [{"name": tmp_path / "far.safetensors"}, {"weights": tmp_path / "far.safetensors"}]
    for choices in far:
        with pytest.raises(WeightsError, match=r"far\.safetensors holds weights of the model 'fardran', which is not"):
            fusekit.load(**choices)


@pytest.mark.parametrize("text", ['{"model": 5}', "[1]", '{"model": "dilran"', '{"a": ' * 1000])
def test_a_configuration_beside_weights_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    save_file(DILRAN().state_dict(), tmp_path / "bare.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"cannot read .*config\.json: .*; restore it, or move it away and name"):
        fusekit.load(tmp_path / "bare.safetensors")


def test_weights_load_where_the_default_model_is_not_there(dilran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = registries().models
    monkeypatch.setattr(models, "_entries", {each.name: each for each in models if each.name != "ehdran"})
    assert isinstance(fusekit.load(weights=dilran), DILRAN)
    with pytest.raises(UnknownNameError, match="unknown weights 'ct-mri'"):
        fusekit.load(weights="ct-mri")
    with pytest.raises(UnknownNameError, match="unknown model 'ehdran'"):
        fusekit.load()


def test_a_model_without_a_name_is_loaded_again_in_other_processes(dilran: Path) -> None:
    model = fusekit.load(weights=dilran)
    fuser = pickle.loads(pickle.dumps(CaseFuser(model, model.choose_rule(None), fusekit.FuseOptions())))
    assert isinstance(fuser.model, DILRAN)


# --- the file that it must be ----------------------------------------------------------------------------------------


def test_a_digest_pins_files_folders_and_tags(dilran: Path, tmp_path: Path, pair: list[str]) -> None:
    DILRAN().save(tmp_path / "folder")
    bundled = fusekit.load("ehdran").provenance.weights
    right = {
        str(dilran): sha256_of(dilran),
        "folder": sha256_of(tmp_path / "folder" / "model.safetensors"),
        "ct-mri": bundled.sha256,
    }
    for text, digest in right.items():
        model = fusekit.load(weights=f"{text}#sha256={digest.upper()}")
        assert model.provenance.weights.sha256 == digest
        with pytest.raises(
            WeightsError, match=rf"its sha256 is {digest} and not {'0' * 64}; correct the digest, or copy"
        ):
            fusekit.load(weights=f"{text}#sha256={'0' * 64}")
        with pytest.raises(WeightsError, match=r"the sha256 of .* must be its 64 hexadecimal digits, not 'abc'"):
            fusekit.load(weights=f"{text}#sha256=abc")
    for name in (f"{dilran}#sha256={sha256_of(dilran)}", f"ehdran.ct-mri#sha256={bundled.sha256}"):
        assert locate(name, None).weights is not None
    pinned = f"{dilran.name}#sha256={sha256_of(dilran)}"
    assert run_cli(["fuse", *pair, "-o", "out.png", "--weights", pinned]).code == 0
    assert json.loads(Path("out.png.json").read_text())["load"]["weights"] == pinned
    code, _, err = run_cli(["fuse", *pair, "-o", "no.png", "--weights", f"{dilran.name}#sha256={'1' * 64}"])
    assert (code, len(err.splitlines()), Path("no.png").exists()) == (2, 1, False)
    assert fusekit.fuse([texture(1), texture(2)], weights=dilran).record["weights"]["sha256"] == sha256_of(dilran)
