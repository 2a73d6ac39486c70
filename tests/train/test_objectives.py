"""What training minimises: pixel, gradient and perceptual terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.training import IMAGES, SHORT

from fusekit.errors import TrainingError, WeightsError
from fusekit.metrics.vgg import PrunedVGG19, load_perceptual
from fusekit.models.objectives import gradient_loss, perceptual_loss, pixel_loss
from fusekit.train.trainer import Recipe, Trainer
from fusekit.weights.store import save_tensors
from fusekit_ehdran.model import EHDRAN


def test_pixel_and_gradient_losses_against_loops() -> None:
    x, y = (torch.rand(1, 1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    assert pixel_loss(x, y).item() == pytest.approx(((x - y) ** 2).mean().item())
    sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    expected = 0.0
    for kernel in (sobel, sobel.T):
        responses = []
        for image in (x, y):
            padded = np.pad(image[0, 0].numpy(), 1)
            responses.append([[abs((padded[i : i + 3, j : j + 3] * kernel).sum()) for j in range(5)] for i in range(6)])
        expected += np.mean((np.array(responses[0]) - np.array(responses[1])) ** 2)
    assert gradient_loss(x, y).item() == pytest.approx(expected)
    assert gradient_loss(x, x).item() == 0


def vgg_state() -> dict[str, torch.Tensor]:
    """Return random tensors of the shapes of a VGG-19 up to convolution 3-4, thin."""
    generator = torch.Generator().manual_seed(3)
    widths = {"conv0": (3, 3, 1), "conv11": (4, 3, 3), "conv12": (4, 4, 3), "conv21": (8, 4, 3), "conv22": (8, 8, 3)}
    widths |= {"conv31": (8, 8, 3), "conv32": (8, 8, 3), "conv33": (8, 8, 3), "conv34": (8, 8, 3)}
    state = {}
    for name, (outputs, inputs, side) in widths.items():
        state[f"{name}.weight"] = torch.randn(outputs, inputs, side, side, generator=generator)
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator)
    return state


def test_the_perceptual_loss_has_gradients(tmp_path: Path) -> None:
    torch.save(vgg_state(), tmp_path / "vgg.pth")
    network = load_perceptual(tmp_path / "vgg.pth")
    assert isinstance(network, PrunedVGG19)
    assert not list(network.parameters())
    x, y = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32, requires_grad=True)
    of_x, of_y = network(x), network(y)
    assert [tuple(each.shape) for each in of_x] == [(2, 4, 32, 32), (2, 8, 16, 16), (2, 8, 8, 8)]
    loss = perceptual_loss(of_x, of_y)
    loss.backward()
    assert 0 < loss.item() < float("inf")
    assert y.grad is not None
    assert y.grad.abs().sum() > 0
    assert perceptual_loss(of_x, of_x).item() == 0


def test_a_file_without_the_layers_is_refused(tmp_path: Path) -> None:
    state = vgg_state()
    del state["conv34.weight"]
    save_tensors(state, tmp_path / "vgg.safetensors", {})
    with pytest.raises(TrainingError, match=r"has no conv34\.weight"):
        load_perceptual(tmp_path / "vgg.safetensors")
    with pytest.raises(WeightsError, match="there is no weights file"):
        load_perceptual(tmp_path / "absent.pth")


def test_training_with_the_perceptual_term(tmp_path: Path) -> None:
    network = PrunedVGG19(vgg_state(), Path("vgg")).eval()
    trainer = Trainer(EHDRAN(), IMAGES, Recipe(**{**SHORT, "perceptual_weight": 0.2}), tmp_path, perceptual=network)
    row = trainer.train_step()
    assert row["perceptual"] > 0
    assert row["loss"] == pytest.approx(row["pixel"] + 0.2 * row["gradient"] + 0.2 * row["perceptual"], rel=1e-5)
