from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import DeviceError, FusekitWarning, Objectives, OptionError, build_rule
from fusekit.testing import (
    assert_no_findings,
    check_conversion,
    check_forms,
    check_model,
    check_rule,
    check_short_training,
    check_use,
)
from fusekit_msdra.model import MSDRA


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


@pytest.fixture
def network() -> MSDRA:
    return trained(MSDRA())


def trained(network: MSDRA) -> MSDRA:
    """Return a network in evaluation mode, its normalisation as after training."""
    generator = torch.Generator().manual_seed(1)
    norm = network.encoder.norm
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
    torch.nn.init.uniform_(norm.bias, -0.2, 0.4, generator=generator)
    if isinstance(norm, torch.nn.BatchNorm2d):
        norm.running_var.uniform_(0.1, 0.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize("statistics", ["image", "running"])
def test_the_model_keeps_the_contract(statistics: str) -> None:
    assert_no_findings(check_model("msdra", {"channels": 8, "statistics": statistics}))


@pytest.mark.parametrize("name", ["msdra", "msdra-signed"])
def test_the_rules_keep_the_contract(name: str) -> None:
    assert_no_findings(check_rule(name))


def test_the_published_size_is_the_default() -> None:
    assert sum(each.numel() for each in MSDRA().parameters()) == 199_489


def test_unknown_statistics_are_refused() -> None:
    with pytest.raises(OptionError, match="unknown statistics 'batch'; choose image or running"):
        MSDRA("batch")


@pytest.mark.parametrize("statistics", ["image", "running"])
def test_the_composed_form_is_the_same_function(statistics: str) -> None:
    assert_no_findings(check_forms(trained(MSDRA(statistics)), tolerance=1e-4))


@torch.inference_mode()
def test_the_composed_form_keeps_float32(network: MSDRA) -> None:
    """Sums over all pixels in float32, one after the other, would be off by a thousandth."""
    sources = images(2, 1, 1, 160, 144)
    wanted = network.encode_sources(sources)
    for found, plain in zip(network.use_form("composed").encode_sources(sources), wanted, strict=True):
        torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["plain", "composed"])
@torch.inference_mode()
def test_an_image_is_normalised_by_its_own_statistics_alone(network: MSDRA, form: str) -> None:
    network.use_form(form)
    dark, bright = images(2, 1, 1, 17, 12)
    dark *= 0.1
    together = network.encode(torch.cat([dark, bright]))
    torch.testing.assert_close(together[:1], network.encode(dark), atol=1e-4, rtol=0)
    torch.testing.assert_close(together[1:], network.encode(bright), atol=1e-4, rtol=0)
    # Whatever the brightness, a channel's mean is what the normalisation shifts to.
    shift = network.encoder.norm.bias.expand(2, -1)
    torch.testing.assert_close(together.mean((2, 3)), shift, atol=1e-4, rtol=0)


def elements(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_msdra_weighs_by_shares_of_magnitudes_and_takes_nothing_of_nothing() -> None:
    fused, weights, _ = build_rule("msdra").apply([elements(3, 0, 1, 2), elements(1, 0, -1, -6)])
    torch.testing.assert_close(fused, elements(2.5, 0, 0, -4))
    torch.testing.assert_close(weights[0], elements(0.75, 0, 0.5, 0.25))
    assert weights[1, 0, 0, 0, 1] == 0


def test_msdra_signed_is_the_published_ratio_and_finite_where_features_cancel() -> None:
    first, second = elements(3, 0, 1, 2), elements(1, 0, -1, -6)
    fused, weights, _ = build_rule("msdra-signed").apply([first, second])
    published = first * (first / (first + second)).abs() + second * (second / (first + second)).abs()
    assert published[..., 1].isnan()
    assert published[..., 2].isnan()
    torch.testing.assert_close(fused[..., [0, 3]], published[..., [0, 3]])
    assert fused[..., 1] == weights[0, ..., 1] == 0
    torch.testing.assert_close(weights[:, 0, 0, 0, 2], torch.full((2,), 5e5))
    assert fused[..., 2] == 0


def test_of_equal_signs_the_two_rules_are_one() -> None:
    sources = images(3, 2, 4, 5, 6)
    found = [build_rule(name).apply(sources).features for name in ("msdra", "msdra-signed")]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_msdra_signed_refuses_half_precision(dtype: torch.dtype) -> None:
    with pytest.raises(DeviceError, match="give --dtype float32, or --rule msdra"):
        build_rule("msdra-signed").apply([elements(1, 2).to(dtype)] * 2)


@pytest.mark.parametrize("name", ["msdra", "msdra-signed"])
def test_features_that_lie_channels_last_stay_so(name: str) -> None:
    sources = [each - 0.5 for each in images(3, 2, 4, 6, 5)]
    last = [each.contiguous(memory_format=torch.channels_last) for each in sources]
    rule = build_rule(name)
    fused, weights, _ = rule.apply(last)
    torch.testing.assert_close(fused, rule.apply(sources).features)
    assert fused.is_contiguous(memory_format=torch.channels_last)
    assert weights[0].is_contiguous(memory_format=torch.channels_last)


def authors_state(network: MSDRA) -> dict[str, Tensor]:
    """Return a state dict by the authors' key names, with their running statistics."""
    names = {
        "encoder.shallow": "Extraction.conv1",
        "encoder.wide": "Extraction.block.conv1",
        "encoder.middle": "Extraction.block.conv2",
        "encoder.narrow": "Extraction.block.conv3",
        "encoder.norm": "Extraction.block.norm",
        "decoder.first": "Reconstruction.conv0",
        "decoder.second": "Reconstruction.conv1",
        "decoder.last": "Reconstruction.conv2",
    }
    state = {f"Extraction.block.norm.running_{name}": torch.ones(64) for name in ("mean", "var")}
    for key, value in network.state_dict().items():
        module, _, parameter = key.rpartition(".")
        state[f"{names[module]}.{parameter}"] = value
    return state


def test_published_checkpoints_are_converted(network: MSDRA) -> None:
    assert_no_findings(check_conversion(network, authors_state(network), 1e-4))


def test_a_state_dict_of_our_names_or_of_others_stays_as_it_is(network: MSDRA) -> None:
    state = network.state_dict()
    assert network.convert_state_dict(state).keys() == state.keys()
    assert network.convert_state_dict({"Extraction.conv0.weight": torch.zeros(1)}).keys() == {"Extraction.conv0.weight"}
    left_out = "own statistics: Extraction.block.norm.running_mean, Extraction.block.norm.running_var"
    with pytest.warns(FusekitWarning, match=left_out):
        assert network.convert_state_dict(authors_state(network)).keys() == state.keys()


def test_a_short_training_makes_weights_that_fuse() -> None:
    assert_no_findings(check_short_training("msdra"))


def test_users_meet_it_as_they_expect(network: MSDRA) -> None:
    """Tiles are refused, as the statistics are of the whole image."""
    assert_no_findings(check_use(network))


def test_the_published_objective_is_the_mean_squared_error(network: MSDRA) -> None:
    (x,) = images(1, 2, 1, 32, 32)
    with torch.no_grad():
        loss, _ = network.training_loss([x], Objectives(0.0, 0.0))
        torch.testing.assert_close(loss, F.mse_loss(network.reconstruct(x), x))
