from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from fusekit.extend import Objectives, WeightsError
from fusekit.testing import assert_no_findings, check_model
from fusekit_gesenet.branch import Masks
from fusekit_gesenet.convert import UNUSED, from_authors
from fusekit_gesenet.form import InferenceForm
from fusekit_gesenet.model import GeSeNet
from fusekit_gesenet.objective import fusion_loss


def images(count: int, *shape: int, seed: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


@pytest.fixture(scope="module")
def network() -> GeSeNet:
    torch.manual_seed(0)
    return GeSeNet().eval()


def test_the_model_keeps_the_contract() -> None:
    assert_no_findings(check_model("gesenet"))


def test_every_parameter_is_counted_and_used() -> None:
    torch.manual_seed(0)
    network = GeSeNet().train()
    for branch in (network.first, network.second):
        # Neither of the two units of the channel attention is dead at the start.
        torch.nn.init.ones_(branch.region.squeeze.bias)
    # The authors' 240,587 without the BatchNorm that is never called.
    assert sum(each.numel() for each in network.parameters()) == 240_585
    network.fuse_jointly(*images(2, 2, 1, 16, 16)).square().mean().backward()
    unused = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert unused == []


@torch.inference_mode()
def test_masks_are_sampled_in_training_and_hard_in_evaluation(network: GeSeNet) -> None:
    sources, sampled = images(2, 1, 1, 16, 16), copy.deepcopy(network).train()
    torch.manual_seed(1)
    once, twice = sampled.fuse(sources), sampled.fuse(sources)
    assert not torch.equal(once, twice)
    assert torch.equal(network.fuse(sources), network.fuse(sources))
    masks = network.first.region.masks(torch.rand(1, 32, 8, 8))
    assert set(masks.dense.unique().tolist()) == {0.0, 1.0}
    assert set(masks.spatial.unique().tolist()) <= {0.0, 1.0}


@torch.inference_mode()
def test_sources_are_told_apart(network: GeSeNet) -> None:
    first, second = images(2, 1, 1, 16, 16)
    assert not torch.allclose(network.fuse([first, second]), network.fuse([second, first]), atol=1e-3)


@pytest.mark.parametrize("mask", ["none", "all", "half", "noise", "corner"])
@torch.inference_mode()
def test_the_composed_form_is_the_same_function_under_any_mask(
    network: GeSeNet, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = torch.zeros(2, 1, 24, 20)
    if mask == "all":
        places += 1
    elif mask == "half":
        places[..., :10] = 1
    elif mask == "noise":
        places = (torch.rand(places.shape, generator=torch.Generator().manual_seed(5)) > 0.5).float()
    elif mask == "corner":
        places[..., -1, -1] = 1
    region = network.first.region
    form = InferenceForm(network, network.first, network.second, network.refinement, network.decoder).first.region
    monkeypatch.setattr(region, "masks", lambda x: Masks(places, region.dense_channels.float()))
    monkeypatch.setattr(form, "_mask", lambda x: places)
    x = torch.randn(2, 32, 24, 20, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(form(x), region(x), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_composed_form_follows_the_weights() -> None:
    torch.manual_seed(1)
    network, sources = GeSeNet().eval().use_form("composed"), images(2, 1, 1, 12, 14)
    network.fuse(sources)
    network.decoder.last.weight.mul_(2)
    network.first.region.channel_logits.copy_(network.first.region.channel_logits.flip(3))
    found = network.fuse(sources)
    torch.testing.assert_close(found, network.use_form("plain").fuse(sources), atol=1e-5, rtol=0)


# --- weights of others ---------------------------------------------------------------------------------------------


def authors(network: GeSeNet) -> dict[str, Tensor]:
    """Return a state dict under the authors' names, as their class saves it."""
    from fusekit_gesenet.convert import _MODULES, _PARAMETERS

    theirs = {ours: name for name, ours in {**_MODULES, **_PARAMETERS}.items()}
    state = {}
    for key, value in network.state_dict().items():
        module, _, parameter = key.rpartition(".")
        state[theirs[key] if key in theirs else f"{theirs[module]}.{parameter}"] = value
    return state | dict.fromkeys(UNUSED, torch.zeros(1))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_names_are_ours_renamed(network: GeSeNet, prefix: str) -> None:
    converted = GeSeNet.convert_state_dict({prefix + key: value for key, value in authors(network).items()})
    own = network.state_dict()
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[key], own[key]) for key in own)
    assert GeSeNet.convert_state_dict(own) == own


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"the key 'vis_conv\.other\.weight' is not one of the authors' GeSeNet"):
        from_authors({"vis_conv.conv.weight": torch.zeros(1), "vis_conv.other.weight": torch.zeros(1)})


# --- training ------------------------------------------------------------------------------------------------------


def test_the_loss_is_least_for_the_best_image() -> None:
    first, second = images(2, 1, 1, 32, 32)
    brighter = torch.maximum(first, second)
    best, terms = fusion_loss([first, second], brighter)
    assert terms["intensity"] == 0
    assert best < fusion_loss([first, second], (first + second) / 2)[0]
    same, terms = fusion_loss([first, first], first)
    assert same.abs() < 1e-5


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    network, sources = GeSeNet().eval(), images(2, 1, 1, 24, 24)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        loss, _ = network.training_loss(sources, Objectives(0.0, 0.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
