"""The kernels of the decoder against their torch twins, interpreted on the CPU, and the twins against the module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fusekit_ehdran.decoder import Decoder

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels.decode import (
    convolve,
    convolve_to_taps,
    convolve_twin,
    decode,
    decode_twin,
    decoder_weights,
)
from fusekit_ehdran.kernels.settings import Setting, forced

#: Tiny, odd, several tiles, and more than one image.
SHAPES = [(1, 2, 2), (2, 3, 5), (1, 9, 17)]
#: Of the greatest value; the interpreter cuts digits off where a GPU rounds to bfloat16.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-5}


def decoder(channels: int = 64, negative_slope: float = 0.2) -> Any:
    torch.manual_seed(11)
    return Decoder(channels, negative_slope).eval().requires_grad_(False)


def features(shape: tuple[int, int, int], dtype: torch.dtype, sources: int = 1, channels: int = 64) -> Tensor:
    batch, height, width = shape
    values = torch.randn(sources * batch, channels, height, width, generator=torch.Generator().manual_seed(12))
    return values.to(dtype, memory_format=torch.channels_last)


def shares_of(sources: int, batch: int, channels: int) -> Tensor:
    return torch.rand(sources, batch, channels, generator=torch.Generator().manual_seed(13)).softmax(0)


def blended(source: Tensor, shares: Tensor) -> Tensor:
    return (shares[..., None, None].double() * source.double().unflatten(0, shares.shape[:2])).sum(0)


def check(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    scale = wanted.float().abs().max().item()
    torch.testing.assert_close(found.float(), wanted.float(), atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("negative_slope", [0.2, 1.0])
def test_decode(shape: tuple[int, int, int], negative_slope: float, dtype: torch.dtype) -> None:
    weights, source = decoder_weights(decoder(), dtype), features(shape, dtype)
    check(decode(source, weights, negative_slope), decode_twin(source, weights, negative_slope), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("sources", "of_channels"), [(2, False), (2, True), (3, False)])
def test_decode_of_weighted_sources(sources: int, of_channels: bool, dtype: torch.dtype) -> None:
    weights, source = decoder_weights(decoder(), dtype), features((2, 3, 9), dtype, sources)
    shares = shares_of(sources, 2, 64 if of_channels else 1)
    found = decode(source, weights, 0.2, shares)
    check(found, decode_twin(source, weights, 0.2, shares), TOLERANCE[dtype])
    check(found, decoder().double()(blended(source, shares)).to(dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("negative_slope", [0.2, 1.0])
def test_the_twin_is_the_plain_module(negative_slope: float, dtype: torch.dtype) -> None:
    plain, source = decoder(negative_slope=negative_slope), features((2, 13, 9), dtype)
    found = decode_twin(source, decoder_weights(plain, dtype), negative_slope)
    check(found, plain.double()(source.double()).to(dtype), TOLERANCE[dtype])


def test_bfloat16_keeps_the_digits_of_the_last_weights() -> None:
    plain = decoder()
    taps = decoder_weights(plain, torch.bfloat16).taps
    wanted = plain.convolutions[2].weight[0].flatten(1)
    torch.testing.assert_close(taps.float().sum(0)[:, :9], wanted, atol=0, rtol=2**-15)
    assert not torch.allclose(taps[0].float()[:, :9], wanted, atol=0, rtol=2**-10)
    assert not taps[:, :, 9:].any()


def test_the_last_products_in_bfloat16_use_all_digits() -> None:
    weights = decoder_weights(decoder(), torch.bfloat16)
    exact = torch.linspace(0.5, 2, 32).bfloat16().float()
    source = torch.zeros_like(features((1, 2, 3), torch.bfloat16))
    found = convolve_to_taps(source, weights._replace(second_bias=exact), 0.2)
    wanted = exact @ decoder().convolutions[2].weight[0].flatten(1)
    torch.testing.assert_close(found, wanted[:, None, None].expand_as(found), atol=2e-5, rtol=0)


@pytest.mark.parametrize("tile", [(2, 8), (16, 4)])
def test_any_tile(tile: tuple[int, int]) -> None:
    weights, source = decoder_weights(decoder(), torch.float32), features((1, 5, 11), torch.float32)
    chosen = Setting(*tile, warps=4, stages=2)
    with forced("convolve", chosen), forced("taps", chosen), forced("sum_taps", chosen):
        check(decode(source, weights, 0.2), decode_twin(source, weights, 0.2), 2e-6)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (32, 64)])
def test_convolution_of_other_channels(inputs: int, outputs: int) -> None:
    source = features((1, 4, 7), torch.float32, channels=inputs)
    generator = torch.Generator().manual_seed(14)
    weight = torch.randn(9, inputs, outputs, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    found = convolve(source, weight, bias)
    assert found.is_contiguous(memory_format=torch.channels_last)
    check(found, convolve_twin(source, weight, bias), 2e-6)


def test_any_memory_layout() -> None:
    weights, source = decoder_weights(decoder(), torch.float32), features((1, 4, 7), torch.float32)
    assert torch.equal(decode(source.contiguous(), weights, 0.2), decode(source, weights, 0.2))
