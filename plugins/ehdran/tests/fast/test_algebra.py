"""The composed order of operations against the plain encoder: values, gradients, BatchNorm's statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.fast import algebra


def make_encoder(edge: str = "drgo", **options: object) -> DilatedResidualAttention:
    torch.manual_seed(1)
    encoder = DilatedResidualAttention(edge, channels=8, **options).double()  # type: ignore[arg-type]
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return encoder


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (7, 12), (13, 11), (2, 2), (3, 31)])
@pytest.mark.parametrize("training", [False, True])
def test_values_and_statistics(size: tuple[int, int], training: bool) -> None:
    plain = make_encoder().train(training)
    ours = copy.deepcopy(plain)
    x = torch.rand(3, 1, *size, dtype=torch.float64)
    torch.testing.assert_close(algebra.encode(ours, x), plain(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.norm.running_mean, plain.norm.running_mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.norm.running_var, plain.norm.running_var, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("edge", ["drgo", "sobel", "none"])
def test_gradients(edge: str) -> None:
    plain = make_encoder(edge, dilations=(1, 2, 3, 4), edge_gain=0.5).eval()
    ours = copy.deepcopy(plain)
    x = torch.rand(2, 1, 9, 10, dtype=torch.float64)
    target = torch.rand(2, 8, 9, 10, dtype=torch.float64)
    for encoder, features in ((plain, plain(x)), (ours, algebra.encode(ours, x))):
        assert encoder.training is False
        (features - target).square().sum().backward()
    for (name, theirs), mine in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert theirs.grad is not None, name
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-8, msg=name)


def test_dropout_is_that_of_the_plain_module() -> None:
    encoder = make_encoder()
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.2
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    torch.manual_seed(5)
    expected = encoder(x)
    torch.manual_seed(5)
    torch.testing.assert_close(algebra.encode(encoder, x), expected, rtol=1e-9, atol=1e-9)
