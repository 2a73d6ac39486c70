from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import FusekitWarning, Objectives
from fusekit.testing import (
    assert_no_findings,
    check_conversion,
    check_forms,
    check_model,
    check_short_training,
    check_use,
)
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


def test_the_composed_form_is_the_same_function(network: MSRPAN) -> None:
    assert_no_findings(check_forms(network, [(16, 16), (16, 48)]))


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


def test_published_checkpoints_are_converted(network: MSRPAN) -> None:
    assert_no_findings(check_conversion(network, authors_state(network)))


def test_a_state_dict_of_our_names_or_of_others_stays_as_it_is(network: MSRPAN) -> None:
    state = network.state_dict()
    assert network.convert_state_dict(state).keys() == state.keys()
    assert network.convert_state_dict({"Extraction.conv1.weight": torch.zeros(1)}).keys() == {"Extraction.conv1.weight"}
    left_out = "never calls them: Extraction.block.conv0.bias, Extraction.block.conv3.bias"
    with pytest.warns(FusekitWarning, match=left_out):
        assert network.convert_state_dict(authors_state(network)).keys() == state.keys()


def test_a_short_training_makes_weights_that_fuse() -> None:
    assert_no_findings(check_short_training("msrpan", rate=0.003))


def test_users_meet_it_as_they_expect(network: MSRPAN) -> None:
    assert_no_findings(check_use(network))


def test_the_published_objective_is_the_mean_squared_error(network: MSRPAN) -> None:
    (x,) = images(1, 2, 1, 32, 32)
    with torch.no_grad():
        loss, _ = network.training_loss([x], Objectives(0.0, 0.0))
        torch.testing.assert_close(loss, F.mse_loss(network.reconstruct(x), x))
