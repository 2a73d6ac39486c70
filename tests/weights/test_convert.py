from __future__ import annotations

import argparse
import io
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.cli import run_cli
from helpers.paths import ROOT
from safetensors.torch import load_file, save_file

import fusekit
from fusekit.cli.main import main
from fusekit.errors import FusekitError, FusekitWarning, UnknownNameError, WeightsError
from fusekit.machine.files import sha256_of
from fusekit.registry.discovery import registries
from fusekit.weights import checkpoints
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


def convert(source: Path, output: Path, *more: str, model: str = "ehdran") -> Result:
    return CliRunner().invoke(main, ["weights", "convert", str(source), "--model", model, "-o", str(output), *more])


def refusal(result: Result, output: Path) -> str:
    """Return the message of an error that left nothing behind."""
    assert isinstance(result.exception, FusekitError), result.exception
    assert list(output.parent.iterdir()) == []
    return str(result.exception)


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


def inside(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Wrap parts of a network, as DataParallel and torch.compile do where only they are wrapped."""
    return {key.replace("fe.", "fe._orig_mod.module.", 1): value for key, value in state.items()}


def of_adam(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return what Adam keeps of these tensors, which has their shapes."""
    kept = {number: {"step": torch.tensor(3.0), "exp_avg": each} for number, each in enumerate(state.values())}
    return {"state": kept, "param_groups": [{"lr": 0.1, "params": list(kept)}]}


def under(name: str, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {name: state, "epoch": 3, "loss": torch.tensor(0.5)}


NAMES = [
    *("state_dict", "model_state_dict", "model", "net", "network", "generator", "params", "params_ema", "ema"),
    *("weights", "module", "G", "my_own_name"),
]
WRAPPINGS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "plain": lambda state: state,
    "wrapped": lambda state: {"model": state, "epoch": 1},
    "wrapped twice": lambda state: {"state_dict": {"model": state}, "best": 0.5},
    **{f"under {name}": partial(under, name) for name in NAMES},
    "with an optimiser": lambda state: {
        "optimizer": of_adam(state),
        "lr_scheduler": {"last": torch.tensor(3)},
        "model": state,
        "epoch": 7,
    },
    "beside numbers of NumPy and arguments": lambda state: {
        "best_psnr": np.float64(31.5),
        "epoch": np.int64(3),
        "args": argparse.Namespace(rate=0.1, gpus=[0]),
        "state_dict": state,
    },
    "in a list": lambda state: [state, {"epoch": 3}],
    "in a tuple with an optimiser": lambda state: (state, of_adam(state)["param_groups"]),
    "in parts": lambda state: {
        "fe": {key.removeprefix("fe."): value for key, value in state.items() if key.startswith("fe.")},
        "recon": {key.removeprefix("recon."): value for key, value in state.items() if key.startswith("recon.")},
    },
    "data parallel": lambda state: prefixed("module.", state),
    "wrapped, data parallel": lambda state: {"model": prefixed("module.", state)},
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "compiled, data parallel": lambda state: {"model": prefixed("_orig_mod.module.", state)},
    "of a trainer's module": lambda state: {"state_dict": prefixed("model.", state)},
    "of a trainer's network": lambda state: {"state_dict": prefixed("net.", state)},
    "deep in a trainer": lambda state: {"state_dict": prefixed("model.module.net.", state)},
    "parts that are wrapped": lambda state: inside(state),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_published_checkpoint_becomes_safetensors(
    authors: dict[str, torch.Tensor], tmp_path: Path, output: Path, wrapping: str
) -> None:
    source = tmp_path / "authors.pth"
    torch.save(WRAPPINGS[wrapping](authors), source)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
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


def test_numbers_of_an_older_numpy_are_let_through(
    authors: dict[str, torch.Tensor], tmp_path: Path, output: Path
) -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": authors, "psnr": np.float64(31.5)}, buffer)
    with zipfile.ZipFile(buffer) as saved, zipfile.ZipFile(tmp_path / "old.pth", "w") as older:
        for name in saved.namelist():
            older.writestr(name, saved.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert convert(tmp_path / "old.pth", output).exit_code == 0


def test_arrays_of_numpy_become_safetensors(authors: dict[str, torch.Tensor], tmp_path: Path, output: Path) -> None:
    for save, name in ((np.savez, "plain.npz"), (np.savez_compressed, "packed.npz")):
        save(tmp_path / name, **{key: value.numpy() for key, value in authors.items()})  # type: ignore[arg-type]
        assert convert(tmp_path / name, output, "--overwrite").exit_code == 0
        network: Any = fusekit.load(output)
        assert torch.equal(network.decoder.convolutions[0].bias, authors["recon.recon_conv.0.bias"].float())


def test_safetensors_with_a_trainers_prefix(authors: dict[str, torch.Tensor], tmp_path: Path, output: Path) -> None:
    save_file(prefixed("net.module.", authors), tmp_path / "a.safetensors")
    assert convert(tmp_path / "a.safetensors", output).exit_code == 0


def test_of_several_sets_the_averaged_one_is_taken_and_the_option_named(
    authors: dict[str, torch.Tensor], tmp_path: Path, output: Path
) -> None:
    other = {key: value + 1 if value.is_floating_point() else value for key, value in authors.items()}
    torch.save({"params": other, "params_ema": authors}, tmp_path / "two.pth")
    with pytest.warns(
        FusekitWarning, match="2 sets of weights that fit; those under 'params_ema' are taken, and --key"
    ):
        assert convert(tmp_path / "two.pth", output).exit_code == 0
    assert read_metadata(output)["key"] == "params_ema"
    bias = authors["recon.recon_conv.0.bias"].float()
    network: Any = fusekit.load(output)
    assert torch.equal(network.decoder.convolutions[0].bias, bias)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        assert convert(tmp_path / "two.pth", output, "--overwrite", "--key", "params").exit_code == 0
    network = fusekit.load(output)
    assert torch.equal(network.decoder.convolutions[0].bias, other["recon.recon_conv.0.bias"].float())
    result = convert(tmp_path / "two.pth", output, "--overwrite", "--key", "net")
    assert "holds no weights of this model under 'net'; they lie under 'params_ema' and 'params'" in str(
        result.exception
    )
    torch.save(prefixed("student.", authors) | prefixed("teacher.", other), tmp_path / "distilled.pth")
    with pytest.warns(FusekitWarning, match="those under 'student' are taken, and --key takes others: 'teacher'"):
        assert convert(tmp_path / "distilled.pth", output, "--overwrite").exit_code == 0
    assert convert(tmp_path / "distilled.pth", output, "--overwrite", "--key", "teacher").exit_code == 0
    # Twice the same is no doubt.
    torch.save({"model": authors, "ema": authors}, tmp_path / "same.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        assert convert(tmp_path / "same.pth", output, "--overwrite").exit_code == 0


def test_tensors_of_other_parts_are_left_out_and_a_line_says_so(
    authors: dict[str, torch.Tensor], tmp_path: Path, output: Path
) -> None:
    state = prefixed("model.", authors) | {"loss.vgg.0.weight": torch.ones(3), "loss.vgg.0.bias": torch.ones(3)}
    torch.save({"state_dict": state}, tmp_path / "trainer.ckpt")
    with pytest.warns(
        FusekitWarning, match=r"trainer\.ckpt holds 2 tensors beside those under 'state_dict\.model'; they"
    ):
        assert convert(tmp_path / "trainer.ckpt", output).exit_code == 0


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


def test_a_whole_module_is_refused_with_what_to_do(tmp_path: Path, output: Path) -> None:
    for content in (torch.nn.Conv2d(1, 1, 3), {"model": EHDRAN()}, {"state_dict": {}, "callbacks": Harmless()}):
        torch.save(content, tmp_path / "module.pth")
        message = refusal(convert(tmp_path / "module.pth", output), output)
        assert "module.pth is refused: it holds more than tensors, and reading it could run code" in message
        assert "save the tensors alone (torch.save(model.state_dict(), 'state.pth')), and convert those" in message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path: Path, output: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 3)), tmp_path / "script.pt")
    message = refusal(convert(tmp_path / "script.pt", output), output)
    assert "script.pt is refused: it is a TorchScript archive, which is code; where you trust it, save its" in message


def test_arrays_of_objects_and_arrays_that_lie_are_refused(tmp_path: Path, output: Path) -> None:
    np.savez(tmp_path / "objects.npz", a=np.array([Harmless()], dtype=object))
    assert "a.npy holds objects, whose reading could run" in refusal(convert(tmp_path / "objects.npz", output), output)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16))
    assert "a.npy says that it has 4000000000000 bytes" in refusal(convert(tmp_path / "huge.npz", output), output)


def test_what_unpacks_to_more_than_the_free_memory_is_not_unpacked(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1 << 20)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    monkeypatch.setattr(checkpoints, "available_bytes", lambda: 1 << 20)
    message = refusal(convert(tmp_path / "bomb.pth", output), output)
    assert "bomb.pth unpacks to 4 MiB, and 1 MiB of memory are free" in message


@pytest.mark.parametrize(
    "made",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to(torch.int64),
        lambda tensor: tensor.to(torch.float8_e5m2),
        lambda tensor: torch.full_like(tensor, torch.inf),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_tensors_that_are_no_weights_are_refused(made: Any, tmp_path: Path, output: Path) -> None:
    state = EHDRAN().state_dict()
    state["decoder.convolutions.0.weight"] = made(state["decoder.convolutions.0.weight"])
    torch.save(state, tmp_path / "odd.pth")
    message = refusal(convert(tmp_path / "odd.pth", output), output)
    assert "odd.pth" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "content", [{}, [], (), {"a": {"b": {}}}, {"optimizer": {"a": torch.ones(2)}}, [torch.ones(2)]]
)
def test_containers_without_a_state_dict_are_refused(content: object, tmp_path: Path, output: Path) -> None:
    torch.save(content, tmp_path / "empty.pth")
    assert "empty.pth holds no state dict, only a " in refusal(convert(tmp_path / "empty.pth", output), output)


def test_a_checkpoint_nested_very_deep_is_refused(tmp_path: Path, output: Path) -> None:
    inner: Any = torch.ones(2)
    for _ in range(300):
        inner = {"model": inner}
    torch.save(inner, tmp_path / "deep.pth")
    assert "deep.pth holds no state dict" in refusal(convert(tmp_path / "deep.pth", output), output)


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
    assert "cut.pth is no file of weights: it is an archive whose end is" in refusal(convert(source, output), output)
    torch.save(authors, source, _use_new_zipfile_serialization=False)
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
    message = refusal(convert(tmp_path / "authors.pth", output, model="dilran"), output)
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
    result = convert(tmp_path / "a.pth", output, model="ehdrun")
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
