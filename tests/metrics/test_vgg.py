"""The perceptual networks: VGG of any make, from files and from a hub."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from helpers.cli import write_texture
from helpers.hub import run_with_hub, serve
from helpers.paths import SHARED
from torch import Tensor, nn

from fusekit.errors import TrainingError, UnknownNameError, WeightsError
from fusekit.metrics.vgg import VGG, PrunedVGG19, describe_perceptual, find_perceptual, load_perceptual
from fusekit.models.objectives import perceptual_loss
from fusekit.weights.store import save_tensors

VGG16 = (4, 4, "M", 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M")
VGG19 = (4, 4, "M", 8, 8, "M", 8, 8, 8, 8, "M", 8)


def thin_vgg(layout: Iterable[int | str], norms: bool) -> nn.Sequential:
    """Return a VGG's features as torchvision and timm lay them out, thin and random."""
    torch.manual_seed(4)
    layers: list[nn.Module] = []
    channels = 3
    for width in layout:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, width, 3, padding=1))
        if norms:
            norm = nn.BatchNorm2d(width)
            for statistics in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                statistics.uniform_(0.5, 1.5)
            layers.append(norm)
        layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers).eval()


def state_of(features: nn.Sequential) -> dict[str, Tensor]:
    return {f"features.{key}": value for key, value in features.state_dict().items()} | {"head.fc.bias": torch.ones(2)}


def taps_of(features: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return what stands before the ReLU in front of each of the first three max-pools, layer by layer."""
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (x.repeat(1, 3, 1, 1) - mean) / std
    taps, before = [], x
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            taps.append(before)
        if isinstance(layer, nn.ReLU):
            before = x
        x = layer(x)
    return taps[:3]


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("layout", [VGG16, VGG19])
def test_the_maps_are_those_of_the_layers_one_by_one(
    layout: tuple[int | str, ...], norms: bool, tmp_path: Path
) -> None:
    features = thin_vgg(layout, norms)
    torch.save(state_of(features), tmp_path / "vgg.pth")
    network = load_perceptual(tmp_path / "vgg.pth")
    assert isinstance(network, VGG)
    assert not list(network.parameters())
    x = torch.rand(2, 1, 24, 16, generator=torch.Generator().manual_seed(5))
    found, wanted = network(x), taps_of(features, x)
    assert [tuple(each.shape) for each in found] == [(2, 4, 24, 16), (2, 8, 12, 8), (2, 8, 6, 4)]
    torch.testing.assert_close(found, [each.detach() for each in wanted], rtol=1e-4, atol=1e-5)


def test_files_that_hold_no_whole_vgg_are_refused(tmp_path: Path) -> None:
    state = state_of(thin_vgg(VGG16, norms=True))
    for gone, message in (
        ("features.0.weight", "holds no VGG"),
        ("features.1.running_mean", "features.1.running_mean"),
    ):
        save_tensors({key: value for key, value in state.items() if key != gone}, tmp_path / "a.safetensors", {})
        with pytest.raises(TrainingError, match=message):
            load_perceptual(tmp_path / "a.safetensors")
    short = {key: value for key, value in state.items() if key.startswith("features.") and int(key.split(".")[1]) < 20}
    save_tensors(short, tmp_path / "b.safetensors", {})
    with pytest.raises(TrainingError, match="holds no VGG up to the third max-pool"):
        load_perceptual(tmp_path / "b.safetensors")


def test_names_that_are_neither_a_network_nor_a_file() -> None:
    with pytest.raises(UnknownNameError, match="unknown perceptual network 'vgg16bn'; did you mean 'vgg16_bn'"):
        find_perceptual("vgg16bn")
    with pytest.raises(WeightsError, match="there is no weights file"):
        load_perceptual("absent/vgg.pth")


@pytest.mark.process
def test_vgg16_bn_comes_from_the_hub(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "timm" / "vgg16_bn.tv_in1k"
    repository.mkdir(parents=True)
    save_tensors(state_of(thin_vgg(VGG16, norms=True)), repository / "model.safetensors", {})
    for number in range(2):
        write_texture(tmp_path / "images" / f"{number}.png", number, 36, 36)
    code = f"""
        import sys
        from fusekit.cli.main import run
        sys.argv = "fusekit train {tmp_path}/images -o {tmp_path}/run --perceptual vgg16_bn --steps 1 --batch 1".split()
        sys.argv += "--crop 32 --device cpu --encoder dran --decoder conv3 --encoder-option channels=2".split()
        run()
    """
    with serve(tmp_path / "hub") as hub:
        done = run_with_hub(hub, tmp_path / "home", code)
        assert done.returncode == 0, done.stderr
        assert any("timm/vgg16_bn.tv_in1k/resolve/main/model.safetensors" in path for path in hub.asked)
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "| perceptual network | vgg16_bn, sha256 `" in card
    assert float((tmp_path / "run" / "log.csv").read_text().splitlines()[1].split(",")[6]) > 0


def test_the_pruned_vgg_of_the_research_data() -> None:
    path = SHARED / "data" / "perceptual" / "vgg19_16x_relu4_1.pth"
    if not path.is_file():
        pytest.skip("the shared data are not here; FUSEKIT_SHARED names their folder")
    network = load_perceptual(path)
    assert isinstance(network, PrunedVGG19)
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(6))
    assert perceptual_loss(network(x), network(x)).item() == 0
    assert 0 < perceptual_loss(network(x), network(x.flip(3))).item() < 100
    assert describe_perceptual(path)["name"] == "vgg19_16x_relu4_1.pth"
