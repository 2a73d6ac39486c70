"""The kernels of the encoder against their torch twins, interpreted on the CPU: sizes, batches, dtypes, options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fusekit_ehdran.encoder import DilatedResidualAttention

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels.attention import attention, attention_twin, convolution_of, taps_first
from fusekit_ehdran.kernels.form import attention_weights, multiscale_weights
from fusekit_ehdran.kernels.multiscale import compose_taps, multiscale, multiscale_twin
from fusekit_ehdran.kernels.settings import Setting, forced

#: Tiny, odd, several tiles with parts of blocks at their ends, and more than one image.
SHAPES = [(1, 2, 2), (2, 3, 5), (1, 8, 16), (1, 9, 17), (2, 11, 8)]
#: Of the greatest value: rounding to bfloat16 at the end, and where launches hand on.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-8}


def encoder(**options: Any) -> DilatedResidualAttention:
    torch.manual_seed(5)
    made = DilatedResidualAttention(**options)
    made.norm.running_mean.normal_(0, 0.1)
    made.norm.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        made.norm.weight.uniform_(0.5, 1.5)
        made.norm.bias.normal_(0, 0.1)
    return made.eval().double()


def image(shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
    batch, height, width = shape
    # Not in [0, 1]: negative means close the gate.
    return torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(6)).to(dtype)


def check(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert found.dtype == wanted.dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    scale = wanted.float().abs().max().item()
    torch.testing.assert_close(found.float(), wanted.float(), atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_multiscale(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    weights = multiscale_weights(encoder(), dtype)
    x = image(shape, dtype)
    check(multiscale(x, weights), multiscale_twin(x, weights), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_attention(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    plain = encoder()
    weights, x = attention_weights(plain, dtype), image(shape, dtype)
    t = multiscale_twin(x, multiscale_weights(plain, dtype))
    check(attention(x, t, weights), attention_twin(x, t, weights), 2 * TOLERANCE[dtype])


@pytest.mark.parametrize("options", [{"dilations": [2]}, {"dilations": [1, 2, 3, 7]}, {"channels": 16}], ids=str)
@torch.no_grad()
def test_encoder_options(options: dict[str, object]) -> None:
    plain, x = encoder(edge="none", **options), image((1, 7, 10), torch.float32)
    weights, attentive = multiscale_weights(plain, torch.float32), attention_weights(plain, torch.float32)
    t = multiscale(x, weights)
    check(t, multiscale_twin(x, weights), 2e-6)
    check(attention(x, t, attentive), plain(x.double()).float().contiguous(memory_format=torch.channels_last), 2e-6)


@torch.no_grad()
def test_the_twins_are_the_plain_encoder() -> None:
    plain, x = encoder(edge="none"), image((2, 13, 9), torch.float32)
    t = multiscale_twin(x, multiscale_weights(plain, torch.float32))
    wanted = plain.norm(plain.multiscale(gated(plain, x.double())))
    torch.testing.assert_close(t, wanted.float(), atol=1e-5, rtol=0, check_stride=False)
    found = attention_twin(x, t, attention_weights(plain, torch.float32))
    torch.testing.assert_close(found, plain(x.double()).float(), atol=1e-5, rtol=0, check_stride=False)


def gated(plain: DilatedResidualAttention, x: Tensor) -> Tensor:
    from fusekit_ehdran.encoder import pooling_gate

    return x + pooling_gate(x) * plain.shallow(x)


@pytest.mark.parametrize("tile", [(2, 8), (16, 4)])
@torch.no_grad()
def test_any_tile(tile: tuple[int, int]) -> None:
    plain, x = encoder(), image((1, 9, 11), torch.float32)
    weights, attentive = multiscale_weights(plain, torch.float32), attention_weights(plain, torch.float32)
    chosen = Setting(*tile, warps=4, stages=2)
    t = multiscale_twin(x, weights)
    with forced("multiscale", chosen), forced("shared", chosen), forced("attend", chosen):
        check(multiscale(x, weights), t, 2e-6)
        check(attention(x, t, attentive), attention_twin(x, t, attentive), 2e-6)


def test_taps_that_meet_are_one() -> None:
    weights = [torch.randn(16, 3, 3, 3) for _ in range(3)]
    composed = compose_taps(weights, (1, 3, 5), torch.zeros(16), torch.float32)
    places = [tuple(each) for each in composed.taps.tolist()]
    used = [each for each, weight in zip(places, composed.weight.unbind(1), strict=True) if weight.any()]
    assert (len(places), len(used), len(set(used))) == (32, 25, 25)
    centre = composed.weight[:, used.index((0, 0))]
    torch.testing.assert_close(centre, sum(each[:, :, 1, 1] for each in weights).T)


def test_taps_first_and_back() -> None:
    weight = torch.randn(7, 5, 3, 3)
    assert torch.equal(convolution_of(taps_first(weight)), weight)
    assert torch.equal(taps_first(weight)[5], weight[:, :, 1, 2].T)
