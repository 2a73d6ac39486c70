from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import Objectives
from fusekit.testing import (
    assert_no_findings,
    check_conversion,
    check_forms,
    check_model,
    check_short_training,
    check_use,
)
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


def test_the_composed_form_is_the_same_function(network: IFCNN) -> None:
    assert_no_findings(check_forms(network, [(2, 2), (3, 2), (5, 9), (19, 20)]))


def test_the_published_size_is_the_default() -> None:
    assert sum(each.numel() for each in IFCNN().parameters()) == 83_587


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


def test_published_checkpoints_are_converted(network: IFCNN) -> None:
    assert_no_findings(check_conversion(network, authors_state(network)))


def test_a_short_training_makes_weights_that_fuse() -> None:
    assert_no_findings(check_short_training("ifcnn", rate=0.003))


def test_users_meet_it_as_they_expect(network: IFCNN) -> None:
    assert_no_findings(check_use(network))
