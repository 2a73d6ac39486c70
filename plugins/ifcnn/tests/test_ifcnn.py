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
from fusekit.extend import Objectives, WeightsError
from fusekit.testing import assert_no_findings, check_model
from fusekit_ifcnn.defocus import defocused_pair
from fusekit_ifcnn.model import IFCNN, IFCNNMean, IFCNNSum

NAMES = {"ifcnn": (IFCNN, "max"), "ifcnn-mean": (IFCNNMean, "mean"), "ifcnn-sum": (IFCNNSum, "sum")}


@pytest.fixture
def network() -> IFCNN:
    return trained(IFCNN())


def trained(network: IFCNN) -> IFCNN:
    """Return a network in evaluation mode, its normalisations as after training, so that they do something."""
    generator = torch.Generator().manual_seed(1)
    for norm in (network.encoder.second.norm, network.decoder.third.norm):
        for tensor, low, high in ((norm.running_mean, -0.1, 0.1), (norm.running_var, 0.01, 0.1)):
            tensor.uniform_(low, high, generator=generator)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        torch.nn.init.uniform_(norm.bias, -0.2, 0.4, generator=generator)
    return network.eval()


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_the_models_keep_the_contract(name: str) -> None:
    assert_no_findings(check_model(name, {"channels": 8}))


def test_the_published_size_is_the_default() -> None:
    assert sum(each.numel() for each in IFCNN().parameters()) == 83_587


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (5, 9), (33, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.inference_mode()
def test_the_composed_form_is_the_same_function(network: IFCNN, size: tuple[int, int], dtype: torch.dtype) -> None:
    network.to(dtype)
    sources = [each.to(dtype) for each in images(3, 2, 1, *size)]
    wanted = network.encode_sources(sources)
    network.use_form("composed")
    assert network.form == "composed"
    features = network.encode_sources(sources)
    for found, plain in zip(features, wanted, strict=True):
        torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    found = network.decode(features[0])
    torch.testing.assert_close(found, network.use_form("plain").decode(wanted[0]), atol=1e-5, rtol=1e-5)


def test_the_composed_form_leaves_training_and_gradients_to_the_modules(network: IFCNN) -> None:
    network.use_form("composed")
    (x,) = images(1, 1, 1, 8, 8)
    network.fuse([x, x]).sum().backward()
    assert network.encoder.first.weight.grad.any()
    assert network.train().form == "plain"


@torch.inference_mode()
def test_bfloat16_is_near_float32_in_both_forms(network: IFCNN) -> None:
    sources = images(2, 2, 1, 33, 20)
    wanted = network.fuse(sources)
    network.bfloat16()
    for form in ("plain", "composed"):
        found = network.use_form(form).fuse([each.bfloat16() for each in sources])
        assert found.dtype == torch.bfloat16
        assert float((found.float() - wanted).abs().mean()) < 0.02


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_each_model_fuses_by_the_rule_that_it_is_trained_with(name: str) -> None:
    network_class, rule = NAMES[name]
    network = trained(network_class())
    sources = images(2, 1, 1, 12, 11)
    assert torch.equal(network.fuse(sources), network.fuse(sources, rule))
    assert not torch.equal(network.fuse(sources), network.fuse(sources, "min"))


@torch.inference_mode()
def test_colours_are_cut_before_they_become_grey(network: IFCNN) -> None:
    colors = torch.tensor([1.5, 0.5, -1.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(network.decoder.gray(colors), torch.full((1, 1, 1, 1), 0.299 + 0.587 * 0.5))


def test_pairs_are_sharp_in_complementary_places() -> None:
    (x,) = images(1, 2, 1, 40, 36)
    near, far = defocused_pair(x, torch.Generator().manual_seed(0))
    sharp_near, sharp_far = near == x, far == x
    assert bool((sharp_near | sharp_far).all())
    assert 0.2 < float(sharp_near.double().mean()) < 0.8
    # What is not sharp is smooth: of less than half the variation.
    rough, smooth = (each.diff(dim=3).abs()[~sharp_near[:, :, :, 1:]].mean() for each in (x, near))
    assert smooth < 0.5 * rough
    assert torch.equal(near, defocused_pair(x, torch.Generator().manual_seed(0))[0])


def test_the_loss_compares_red_green_and_blue_of_a_fused_pair_with_the_sharp_image(network: IFCNN) -> None:
    (x,) = images(1, 2, 1, 24, 24)
    with torch.no_grad():
        loss, terms = network.training_loss([x], Objectives(0.0, 0.0))
        pair = defocused_pair(x, torch.Generator().manual_seed(0))
        features = torch.maximum(*(network.encoder(each) for each in pair))
        wanted = F.mse_loss(network.decoder.colors(features), x.expand(-1, 3, -1, -1))
        assert torch.equal(loss, network.training_loss([x], Objectives(0.0, 0.0))[0])
    torch.testing.assert_close(loss, wanted)
    assert terms.keys() == {"pixel", "gradient", "psnr"}


def authors_state(network: IFCNN) -> dict[str, Tensor]:
    """Return a state dict by the authors' key names, as a checkpoint of several GPUs has them."""
    names = {
        "encoder.first": "conv1",
        "encoder.second.convolution": "conv2.conv",
        "encoder.second.norm": "conv2.bn",
        "decoder.third.convolution": "conv3.conv",
        "decoder.third.norm": "conv3.bn",
        "decoder.last": "conv4",
    }
    state = {}
    for key, value in network.state_dict().items():
        module, _, parameter = key.rpartition(".")
        state[f"module.{names[module]}.{parameter}"] = value
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ifcnn")


def fusekit_command(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fusekit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_a_wrapped_checkpoint_is_converted_and_fuses(folder: Path, network: IFCNN) -> None:
    torch.save({"epoch": 3, "state_dict": authors_state(network)}, folder / "authors.pth")
    output = folder / "converted.safetensors"
    done = fusekit_command("weights", "convert", "--model", "ifcnn", folder / "authors.pth", "-o", output)
    assert (done.returncode, done.stderr) == (0, "")
    sources = images(2, 1, 1, 9, 12)
    with torch.inference_mode():
        torch.testing.assert_close(fusekit.load(output, device="cpu").fuse(sources), network.fuse(sources))


@pytest.mark.process
def test_a_short_training_makes_weights_that_fuse(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(3):
        pixels = np.kron(rng.integers(0, 256, (6, 6)), np.ones((6, 6))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}001.png")
    run = folder / "run"
    recipe = "--steps 20 --batch 2 --crop 16 --gradient-weight 0 --perceptual-weight 0 --log-every 1 --rate"
    done = fusekit_command("train", folder / "images", "-o", run, "--model", "ifcnn", *recipe.split(), 0.003)
    assert done.returncode == 0, done.stderr
    losses = np.genfromtxt(run / "log.csv", delimiter=",", names=True)["loss"]
    assert losses[-5:].mean() < 0.7 * losses[:5].mean()
    assert fusekit.load(run / "weights.safetensors", device="cpu").spec.id == "ifcnn"


def test_missing_weights_are_said_with_what_makes_them() -> None:
    with pytest.raises(WeightsError, match=r"fusekit train FOLDERS --model ifcnn -o RUN.*weights convert"):
        fusekit.load("ifcnn")
