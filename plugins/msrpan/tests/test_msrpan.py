from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import fusekit
from fusekit.extend import FusekitWarning, Objectives, WeightsError
from fusekit.testing import assert_no_findings, check_model
from fusekit_msrpan.model import MSRPAN
from fusekit_msrpan.network import gate


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def close(found: Tensor, wanted: Tensor, share: float = 1e-5) -> None:
    """Assert that two tensors differ by no more than a share of the greatest value."""
    torch.testing.assert_close(found, wanted, atol=share * float(wanted.abs().max()), rtol=0)


@pytest.fixture
def network() -> MSRPAN:
    return trained(MSRPAN())


def trained(network: MSRPAN) -> MSRPAN:
    """Return a network in evaluation mode, its normalisation as after training, so that the pyramid does something."""
    generator = torch.Generator().manual_seed(1)
    norm = network.encoder.block.norm
    for tensor, low, high in ((norm.running_mean, -0.1, 0.1), (norm.running_var, 1.0, 2.0)):
        tensor.uniform_(low, high, generator=generator)
    torch.nn.init.uniform_(norm.weight, 0.3, 0.6, generator=generator)
    torch.nn.init.uniform_(norm.bias, -0.2, 0.4, generator=generator)
    torch.nn.init.uniform_(network.encoder.shallow.weight, -0.5, 0.5, generator=generator)
    return network.eval()


def test_the_model_keeps_the_contract() -> None:
    assert_no_findings(check_model("msrpan", {"channels": 4}))


def test_the_published_size_is_the_default() -> None:
    assert sum(each.numel() for each in MSRPAN().parameters()) == 92_609


def test_the_gate_against_a_loop() -> None:
    (x,) = images(1, 2, 3, 4, 6)
    x -= 0.5
    wanted = torch.empty_like(x)
    for row in range(4):
        for column in range(6):
            block = x[:, :, row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2]
            wanted[:, :, row, column] = F.relu(block.mean((2, 3)))
    torch.testing.assert_close(gate(x), wanted)


@pytest.mark.parametrize("size", [(16, 16), (16, 48), (64, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.inference_mode()
def test_the_composed_form_is_the_same_function(network: MSRPAN, size: tuple[int, int], dtype: torch.dtype) -> None:
    network.to(dtype)
    sources = [each.to(dtype) for each in images(3, 2, 1, *size)]
    sources[0][:, :, :, 8:] = 0
    wanted = network.encode_sources(sources)
    features = network.use_form("composed").encode_sources(sources)
    for found, plain in zip(features, wanted, strict=True):
        close(found, plain)
    found = network.decode(features[0])
    assert network.form == "composed"
    close(found, network.use_form("plain").decode(wanted[0]))


@pytest.mark.parametrize("form", ["plain", "composed"])
@torch.inference_mode()
def test_odd_sizes_are_padded_by_their_border_and_cut_back(network: MSRPAN, form: str) -> None:
    network.use_form(form)
    sources = images(2, 2, 1, 19, 30)
    padded = [F.pad(each, (0, 2, 0, 13), mode="replicate") for each in sources]
    found = network.fuse(sources)
    close(found, network.fuse(padded)[:, :, :19, :30])


@torch.inference_mode()
def test_background_of_zeros_stays_finite(network: MSRPAN) -> None:
    black = torch.zeros(1, 1, 32, 32)
    network.encoder.shallow.bias.zero_()
    network.encoder.block.norm.bias.zero_()
    network.encoder.block.norm.running_mean.zero_()
    for form in ("plain", "composed"):
        network.use_form(form)
        features = network.encode_sources([black, black])
        if form == "plain":
            network.encoder.block.shared.bias.zero_()
        assert network.fuse([black, black]).isfinite().all()
        assert network.choose_rule(None).apply(features).features.isfinite().all()


def test_the_composed_form_leaves_training_and_gradients_to_the_modules(network: MSRPAN) -> None:
    network.use_form("composed")
    (x,) = images(1, 1, 1, 16, 16)
    network.fuse([x, x]).sum().backward()
    assert network.encoder.block.shared.weight.grad.any()
    assert network.train().form == "plain"


@torch.inference_mode()
def test_bfloat16_is_near_float32_in_both_forms(network: MSRPAN) -> None:
    sources = images(2, 2, 1, 32, 48)
    wanted = network.fuse(sources)
    network.bfloat16()
    for form in ("plain", "composed"):
        found = network.use_form(form).fuse([each.bfloat16() for each in sources])
        assert found.dtype == torch.bfloat16
        assert float((found.float() - wanted).abs().mean()) < 0.02 * float(wanted.abs().max())


def authors_state(network: MSRPAN) -> dict[str, Tensor]:
    """Return a state dict by the authors' key names, with modules that their network does not call."""
    names = {
        "encoder.shallow": "Extraction.conv0",
        "encoder.block.shared": "Extraction.block.conv1",
        "encoder.block.norm": "Extraction.block.norm",
        "decoder.first": "Reconstruction.conv0",
        "decoder.second": "Reconstruction.conv1",
        "decoder.last": "Reconstruction.conv2",
    }
    state = {f"Extraction.block.{name}": torch.zeros(64) for name in ("conv0.bias", "conv3.bias")}
    for key, value in network.state_dict().items():
        module, _, parameter = key.rpartition(".")
        if parameter != "num_batches_tracked":
            state[f"{names[module]}.{parameter}"] = value
    return state


@pytest.mark.process
def test_a_wrapped_checkpoint_is_converted_and_what_it_leaves_out_is_named(folder: Path, network: MSRPAN) -> None:
    torch.save({"model": authors_state(network), "epoch": 3}, folder / "authors.pth")
    output = folder / "converted.safetensors"
    done = fusekit_command("weights", "convert", "--model", "msrpan", folder / "authors.pth", "-o", output)
    assert done.returncode == 0
    assert done.stderr == (
        "fusekit: warning: of the checkpoint these are left out, as the network never calls them: "
        "Extraction.block.conv0.bias, Extraction.block.conv3.bias\n"
    )
    sources = images(2, 1, 1, 16, 32)
    with torch.inference_mode():
        found = fusekit.load(output, device="cpu").fuse(sources)
        close(found, network.fuse(sources))


def test_a_state_dict_of_our_names_or_of_others_stays_as_it_is(network: MSRPAN) -> None:
    state = network.state_dict()
    assert network.convert_state_dict(state).keys() == state.keys()
    assert network.convert_state_dict({"Extraction.conv1.weight": torch.zeros(1)}).keys() == {"Extraction.conv1.weight"}
    with pytest.warns(FusekitWarning, match="left out"):
        assert network.convert_state_dict(authors_state(network)).keys() == state.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("msrpan")


def fusekit_command(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fusekit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_a_short_training_makes_weights_that_fuse(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(3):
        pixels = np.kron(rng.integers(0, 256, (6, 6)), np.ones((6, 6))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}001.png")
    run = folder / "run"
    recipe = "--steps 20 --batch 2 --crop 16 --gradient-weight 0 --perceptual-weight 0 --log-every 1 --rate"
    done = fusekit_command("train", folder / "images", "-o", run, "--model", "msrpan", *recipe.split(), 0.003)
    assert done.returncode == 0, done.stderr
    losses = np.genfromtxt(run / "log.csv", delimiter=",", names=True)["loss"]
    assert losses[-5:].mean() < 0.7 * losses[:5].mean()
    assert fusekit.load(run / "weights.safetensors", device="cpu").spec.id == "msrpan"


def test_the_published_objective_is_the_mean_squared_error(network: MSRPAN) -> None:
    (x,) = images(1, 2, 1, 32, 32)
    with torch.no_grad():
        loss, _ = network.training_loss([x], Objectives(0.0, 0.0))
        torch.testing.assert_close(loss, F.mse_loss(network.reconstruct(x), x))


def test_missing_weights_are_said_with_what_makes_them() -> None:
    with pytest.raises(WeightsError, match=r"fusekit train FOLDERS --model msrpan -o RUN.*weights convert"):
        fusekit.load("msrpan")
