from __future__ import annotations

import pytest
import torch

from fusekit.registry.discovery import load_plugins, registries
from fusekit.testing import assert_no_findings, check_edge_operator

EDGES = load_plugins([]).edge_operators.names()
GRADIENTS = ("sobel", "scharr", "prewitt")


@pytest.mark.parametrize("name", EDGES)
def test_edge_operators_keep_the_contract(name: str) -> None:
    assert_no_findings(check_edge_operator(name))


@pytest.mark.parametrize("name", EDGES)
def test_edge_operators_find_nothing_in_a_constant(name: str) -> None:
    operator = registries().edge_operators.load(name)(3)
    assert not list(operator.parameters())
    assert operator.state_dict() == {}
    for size in ((5, 7), (2, 2), (1, 4)):
        found = operator(torch.full((2, 3, *size), 0.5))
        torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", EDGES)
def test_edge_operators_act_channel_by_channel(name: str) -> None:
    operator = registries().edge_operators.load(name)(2)
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(7))
    alone = torch.cat([operator(x[:, i : i + 1]) for i in range(2)], dim=1)
    torch.testing.assert_close(operator(x), alone)
    assert (operator(x) >= 0).all()


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_operators_answer_a_ramp_of_slope_1_with_1(name: str, axis: int) -> None:
    ramp = torch.arange(8.0).view(*([-1, 1] if axis == 2 else [1, -1])).expand(1, 2, 8, 8)
    inside = registries().edge_operators.load(name)(2)(ramp)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.ones_like(inside))


def test_the_laplacian_answers_second_derivatives_only() -> None:
    operator = registries().edge_operators.load("laplacian")(1)
    along = torch.arange(8.0).expand(1, 1, 8, 8)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(operator(along)[inside], torch.zeros(1, 1, 6, 6))
    torch.testing.assert_close(operator(along.square())[inside], torch.full((1, 1, 6, 6), 2.0))


def test_no_edge_is_zeros() -> None:
    found = registries().edge_operators.load("none")(2)(torch.randn(1, 2, 4, 4))
    assert torch.equal(found, torch.zeros(1, 2, 4, 4))
