"""The kernel of DRGO against its torch twin, interpreted on the CPU, and the twin against the plain module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fusekit.extend import InputError
from fusekit_ehdran.drgo import DenseResidualGradient

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels.edges import EdgeWeights, add_edges, add_edges_twin, edge_weights
from fusekit_ehdran.kernels.settings import Setting, forced

#: Tiny, odd, several tiles, and more than one image.
SHAPES = [(1, 2, 2), (2, 3, 5), (1, 9, 17)]
#: Of the greatest value; the interpreter cuts digits off where a GPU rounds to bfloat16.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-6}
GAIN = 0.7


def module(channels: int = 64) -> DenseResidualGradient:
    torch.manual_seed(7)
    made = DenseResidualGradient(channels).eval().double()
    with torch.no_grad():
        for filters in (made.gradient.along_x, made.gradient.along_y):
            filters.weight.add_(0.3 * torch.randn_like(filters.weight))
    return made


def basis(channels: int = 64) -> Tensor:
    return torch.randn(channels, 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


@torch.no_grad()
def weights(dtype: torch.dtype, channels: int = 64) -> EdgeWeights:
    return edge_weights(module(channels), basis(channels), GAIN, dtype)


def inputs(shape: tuple[int, int, int], dtype: torch.dtype, channels: int = 64) -> tuple[Tensor, Tensor]:
    batch, height, width = shape
    generator = torch.Generator().manual_seed(9)
    features = torch.randn(batch, channels, height, width, generator=generator)
    x = torch.rand(batch, 1, height, width, generator=generator)
    return features.to(dtype, memory_format=torch.channels_last), x.to(dtype)


def check(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert found.dtype == wanted.dtype
    scale = wanted.float().abs().max().item()
    torch.testing.assert_close(found.float(), wanted.float(), atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_the_twin(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    features, x = inputs(shape, dtype)
    wanted = add_edges_twin(features.clone(), x, weights(dtype))
    found = add_edges(features, x, weights(dtype))
    assert found is features
    check(found, wanted, TOLERANCE[dtype])
    # The features alone, without edges, would not pass.
    assert not torch.allclose(wanted.float(), inputs(shape, dtype)[0].float(), atol=0.1)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@torch.no_grad()
def test_the_twin_is_the_plain_module(dtype: torch.dtype) -> None:
    features, x = inputs((2, 13, 9), dtype)
    maps = torch.cat([x, torch.ones_like(x)], dim=1).double()
    wanted = features.double() + GAIN * module()(torch.einsum("cj,bjhw->bchw", basis(), maps))
    check(add_edges_twin(features, x, weights(dtype)), wanted.to(dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("tile", [(2, 8), (8, 4)])
def test_any_tile(tile: tuple[int, int]) -> None:
    features, x = inputs((1, 5, 11), torch.float32)
    wanted = add_edges_twin(features.clone(), x, weights(torch.float32))
    with forced("edges", Setting(*tile, warps=4, stages=2)):
        check(add_edges(features, x, weights(torch.float32)), wanted, 2e-6)


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
@pytest.mark.parametrize("channels", [16, 32])
def test_other_channels_and_products_in_one_piece(channels: int, precision: str) -> None:
    features, x = inputs((1, 4, 7), torch.float32, channels)
    made = weights(torch.float32, channels)
    wanted = add_edges_twin(features.clone(), x, made)
    check(add_edges(features, x, made, precision), wanted, 2e-6)


def test_features_that_are_not_channels_last_are_an_error() -> None:
    features, x = inputs((1, 4, 7), torch.float32)
    with pytest.raises(InputError, match="channels last"):
        add_edges(features.contiguous(), x, weights(torch.float32))
