from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import EncoderDecoder, OptionError
from fusekit.testing import assert_no_findings, check_decoder, check_edge_operator, check_encoder, check_model
from fusekit_ehdran.encoder import DilatedResidualAttention, pooling_gate
from fusekit_ehdran.model import DILRAN, EHDRAN


@pytest.fixture(params=[EHDRAN, DILRAN])
def network(request: pytest.FixtureRequest) -> EncoderDecoder:
    torch.manual_seed(0)
    made: Any = request.param()
    # Statistics as after training, so that normalisation does something.
    norm = made.encoder.norm
    norm.running_mean.normal_(0, 0.1)
    norm.running_var.uniform_(0.5, 1.5)
    return made.eval()


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ehdran", "dilran"])
def test_the_models_keep_the_contract(name: str) -> None:
    assert_no_findings(check_model(name))


@pytest.mark.parametrize("edge", ["none", "drgo", "sobel"])
def test_the_encoder_keeps_the_contract(edge: str) -> None:
    assert_no_findings(check_encoder("dran", edge=edge))


@pytest.mark.parametrize("name", ["conv3", "conv3-linear"])
def test_the_decoders_keep_the_contract(name: str) -> None:
    assert_no_findings(check_decoder(name))
    assert_no_findings(check_decoder(name, encoder="dran"))


def test_the_edge_operator_keeps_the_contract() -> None:
    assert_no_findings(check_edge_operator("drgo"))


def test_parts_make_a_model_that_keeps_the_contract() -> None:
    parts = {"encoder": "dran", "edge": "drgo", "decoder": "conv3", "encoder_options": {"channels": 8}}
    assert_no_findings(check_model("composed", parts))


@torch.inference_mode()
def test_three_sources_are_fused_in_any_order(network: EncoderDecoder) -> None:
    a, b, c = images(3, 1, 1, 12, 11)
    fused, weights, _ = network.run([a, b, c], network.choose_rule("sfnn"))
    assert weights[0].shape == (3, 1, 1, 1, 1)
    torch.testing.assert_close(network.fuse([c, a, b], "sfnn"), fused, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_source_fused_with_itself_is_its_reconstruction(network: EncoderDecoder) -> None:
    (image,) = images(1, 1, 1, 9, 12)
    torch.testing.assert_close(network.fuse([image, image]), network.reconstruct(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("network_class", "count"), [(EHDRAN, 414_081), (DILRAN, 216_001)])
def test_every_parameter_is_counted_and_used(network_class: type[EncoderDecoder], count: int) -> None:
    torch.manual_seed(0)
    network = network_class().train()
    assert sum(each.numel() for each in network.parameters()) == count
    network(torch.rand(2, 1, 16, 16)).square().mean().backward()
    unused = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert unused == []


def test_weights_do_not_depend_on_dilations_and_gain() -> None:
    given = EHDRAN(encoder_options={"dilations": [2, 4, 6], "edge_gain": 0.5})
    assert given.state_dict().keys() == EHDRAN().state_dict().keys()
    assert given.encoder.edge_gain == 0.5


@torch.inference_mode()
def test_the_edge_gain_scales_the_edge_branch() -> None:
    torch.manual_seed(0)
    encoder, x = DilatedResidualAttention().eval(), torch.rand(1, 1, 8, 8)
    edges = encoder.edge(encoder.shallow(x))
    with_edges = encoder(x)
    encoder.edge_gain = 0.0
    torch.testing.assert_close(encoder(x) + edges, with_edges)


def test_encoder_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match=r"'dran' of fusekit-\w+ does not take these options"):
        EHDRAN(encoder_options={"depth": 3})
    with pytest.raises(OptionError, match="dilations of 1 or more"):
        EHDRAN(encoder_options={"dilations": [1, 0, 5]})


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 2), (3, 2)])
def test_the_pooling_gate_against_a_loop(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(4))
    wanted = torch.empty_like(x)
    for row in range(size[0]):
        for column in range(size[1]):
            block = x[:, :, row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2]
            wanted[:, :, row, column] = F.relu(block.mean((2, 3)))
    torch.testing.assert_close(pooling_gate(x), wanted)
