from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from helpers.cli import run_cli
from helpers.paths import ROOT
from safetensors.torch import load_file, save_file

import fusekit
from fusekit.cli.main import main
from fusekit.errors import FusekitError, UnknownNameError, WeightsError
from fusekit.machine.files import sha256_of
from fusekit.registry.discovery import registries
from fusekit.weights.checkpoints import read_checkpoint
from fusekit.weights.metadata import read_metadata
from fusekit.weights.store import save_weights
from fusekit.weights.verify import verify, verify_all
from fusekit_ehdran import plugin
from fusekit_ehdran.model import EHDRAN

GOLDEN = ROOT / "plugins" / "ehdran" / "tests" / "golden"


class Harmless:
    """Not a tensor; reading it back would need its class."""


@pytest.fixture(scope="module")
def authors() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "authors_keys_f16.safetensors")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "converted.safetensors"


def convert(source: Path, output: Path, model: str = "ehdran") -> Result:
    return CliRunner().invoke(main, ["weights", "convert", str(source), "--model", model, "-o", str(output)])


def refusal(result: Result, output: Path) -> str:
    """Return the message of an error that left nothing behind."""
    assert isinstance(result.exception, FusekitError), result.exception
    assert list(output.parent.iterdir()) == []
    return str(result.exception)


WRAPPINGS = {
    "plain": lambda state: state,
    "wrapped": lambda state: {"model": state, "epoch": 1},
    "wrapped twice": lambda state: {"state_dict": {"model": state}, "best": 0.5},
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "wrapped, data parallel": lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_published_checkpoint_becomes_safetensors(
    authors: dict[str, torch.Tensor], tmp_path: Path, output: Path, wrapping: str
) -> None:
    source = tmp_path / "authors.pth"
    torch.save(WRAPPINGS[wrapping](authors), source)
    result = convert(source, output)
    assert result.exit_code == 0, result.exception
    assert result.output == f"{output}: {len(EHDRAN().state_dict())} tensors of the model ehdran\n"
    metadata = read_metadata(output)
    assert (metadata["model"], metadata["converted_from"]) == ("ehdran", "authors.pth")
    assert metadata["source_sha256"] == sha256_of(source)
    network: Any = fusekit.load(output)
    assert torch.equal(network.encoder.shallow.weight, authors["fe.conv1.weight"].float())
    assert list(output.parent.iterdir()) == [output]


def test_safetensors_under_the_authors_names_are_renamed(authors: dict[str, torch.Tensor], output: Path) -> None:
    assert convert(GOLDEN / "authors_keys_f16.safetensors", output).exit_code == 0
    network: Any = fusekit.load(output)
    assert torch.equal(network.decoder.convolutions[0].bias, authors["recon.recon_conv.0.bias"].float())


def test_our_own_names_pass_through(tmp_path: Path, output: Path) -> None:
    network: Any = EHDRAN()
    torch.save(network.state_dict(), tmp_path / "own.pth")
    assert convert(tmp_path / "own.pth", output).exit_code == 0
    loaded: Any = fusekit.load(output)
    assert torch.equal(loaded.encoder.shallow.weight, network.encoder.shallow.weight)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_with_an_object_is_refused_with_the_reason(
    authors: dict[str, torch.Tensor], tmp_path: Path, output: Path, legacy: bool
) -> None:
    source = tmp_path / "objects.pth"
    torch.save({"model": authors, "args": Harmless()}, source, _use_new_zipfile_serialization=not legacy)
    message = refusal(convert(source, output), output)
    assert "objects.pth is refused: it holds more than tensors, and reading it could run code" in message
    assert "Harmless" in message
    assert "weights_only=False" not in message
    with pytest.raises(WeightsError, match="is refused"):
        read_checkpoint(source)


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint at all", b"\x80\x02garbage", b"PK\x03\x04broken", b"\0" * 64]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_garbage_is_refused(tmp_path: Path, output: Path, content: bytes, suffix: str) -> None:
    source = tmp_path / f"garbage{suffix}"
    source.write_bytes(content)
    assert f"garbage{suffix}" in refusal(convert(source, output), output)


def test_a_truncated_checkpoint_is_refused(authors: dict[str, torch.Tensor], tmp_path: Path, output: Path) -> None:
    source = tmp_path / "cut.pth"
    torch.save(authors, source)
    source.write_bytes(source.read_bytes()[:-2000])
    assert "cut.pth cannot be read as a checkpoint" in refusal(convert(source, output), output)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, {"model": {"epoch": 3}}])
def test_a_checkpoint_without_a_state_dict_is_refused(tmp_path: Path, output: Path, content: object) -> None:
    torch.save(content, tmp_path / "empty.pth")
    assert "empty.pth holds no state dict" in refusal(convert(tmp_path / "empty.pth", output), output)


def test_weights_that_are_not_the_models_are_refused(
    authors: dict[str, torch.Tensor], tmp_path: Path, output: Path
) -> None:
    torch.save({"features.0.weight": torch.ones(3)}, tmp_path / "other.pth")
    assert "'features.0.weight' is not one of the authors'" in refusal(convert(tmp_path / "other.pth", output), output)
    torch.save(authors, tmp_path / "authors.pth")
    message = refusal(convert(tmp_path / "authors.pth", output, "dilran"), output)
    assert "does not fit the model 'dilran'" in message
    lacking = {key: value for key, value in authors.items() if key != "fe.conv1.bias"}
    save_file(lacking, tmp_path / "lacking.safetensors")
    message = refusal(convert(tmp_path / "lacking.safetensors", output), output)
    assert "1 tensors are missing, the first 'encoder.shallow.bias'" in message


def test_names_and_paths_are_checked_first(tmp_path: Path, output: Path) -> None:
    torch.save({}, tmp_path / "a.pth")
    assert "there is no weights file" in refusal(convert(tmp_path / "gone.pth", output), output)
    assert "name the output .safetensors" in refusal(convert(tmp_path / "a.pth", output.with_suffix(".pth")), output)
    assert "does not exist" in refusal(convert(tmp_path / "a.pth", output.parent / "no" / "b.safetensors"), output)
    result = convert(tmp_path / "a.pth", output, "ehdrun")
    assert isinstance(result.exception, UnknownNameError)
    assert "did you mean 'ehdran'" in refusal(result, output)


@pytest.mark.process
def test_a_refusal_is_one_line_and_exit_code_2(tmp_path: Path, output: Path) -> None:
    torch.save(Harmless(), tmp_path / "objects.pth")
    command = "from fusekit.cli.main import run; run()"
    arguments = ["weights", "convert", "objects.pth", "--model", "ehdran", "-o", str(output)]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("fusekit: error: objects.pth is refused")


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let ``ehdran`` be the only model, its weights pinned to a file made here; return that file."""
    path = tmp_path / "ct-mri.safetensors"
    save_weights(model := EHDRAN(), path, model.header)
    spec = replace(plugin.EHDRAN, weights=(replace(plugin.EHDRAN.weights[0], sha256=sha256_of(path)),))
    models = registries().models
    entry = replace(models.entry("ehdran"), details={"spec": spec})
    monkeypatch.setattr(models, "_entries", {"ehdran": entry})
    monkeypatch.setattr("fusekit.weights.verify.find_bundled", lambda *_: path if path.is_file() else None)
    return path


def test_verify_says_ok_and_shows_the_digest(pinned: Path) -> None:
    result = CliRunner().invoke(main, ["weights", "verify"])
    assert result.exit_code == 0
    assert result.output.split() == ["ehdran.ct-mri", "ok", sha256_of(pinned)]


def test_verify_finds_damage(pinned: Path) -> None:
    with pinned.open("ab") as file:
        file.write(b"\0")
    code, out, err = run_cli(["weights", "verify", "ehdran.ct-mri"])
    assert code == 2
    assert "damaged" in out
    assert err.startswith(f"fusekit: error: {pinned} has sha256 ")
    assert err.endswith("; reinstall\n")


def test_verify_finds_what_is_missing(pinned: Path) -> None:
    pinned.unlink()
    result = CliRunner().invoke(main, ["weights", "verify"])
    assert result.exit_code == 2
    assert "missing" in result.stdout


@pytest.mark.usefixtures("pinned")
def test_verify_knows_weights_of_the_hub_and_without_a_digest() -> None:
    weights = plugin.EHDRAN.weights[0]
    assert verify(plugin.EHDRAN, replace(weights, sha256="")).state == "not pinned"
    with pytest.raises(WeightsError, match=r"no registered model has weights called 'ehdran\.pet'"):
        verify_all("ehdran.pet")


def test_weights_on_the_hub_are_not_fetched_to_be_verified() -> None:
    weights = replace(plugin.EHDRAN.weights[0], file="elsewhere.safetensors", hub="lab/ehdran", revision="v1")
    assert verify(plugin.EHDRAN, weights).state == "on the hub"
