"""The decoder in three launches: two convolutions with their activations, and the sum of the last one's taps.

The first convolution can read the features of several sources and weigh them as it does, so that blending them takes
no pass of its own. The second one ends with nine products a pixel, one for each tap of the last kernel, 32 → 1: where
a tap belongs is another pixel, often of another program, so the products are stored as nine planes, which are fewer
bytes than 32 channels, and a last launch sums each plane shifted to its place. The last layer's weights keep float32's
digits in bfloat16 too, as the sum of two bfloat16 numbers each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor, nn

from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.fast.algebra import bias_of
from fusekit_ehdran.kernels.attention import convolution_of, taps_first
from fusekit_ehdran.kernels.common import convolve_3x3, first_pixel, product, tile_of_program
from fusekit_ehdran.kernels.settings import setting


class DecoderWeights(NamedTuple):
    """Weights of the three layers C → C → 32 → 1.

    Attributes:
        first: (9, C, C), tap by tap from inputs to outputs.
        first_bias: (C,) float32.
        second: (9, C, 32).
        second_bias: (32,) float32.
        taps: (2, 32, 16), of the last layer: columns are its nine taps and zeros, and the second part is what rounding
            took from the first one, nothing in float32.
        bias: (1,) float32.
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    taps: Tensor
    bias: Tensor


def decoder_weights(decoder: Decoder, dtype: torch.dtype) -> DecoderWeights:
    """Return the weights of a decoder in ``dtype``, float32 or bfloat16; biases are float32."""
    layers = [each for each in decoder.convolutions if isinstance(each, nn.Conv2d)]
    first, second, last = (each.weight.detach() for each in layers)
    first_bias, second_bias, bias = (bias_of(each).detach().float() for each in layers)
    taps = F.pad(last[0].flatten(1).double(), (0, 7))
    high = taps.to(dtype)
    return DecoderWeights(
        taps_first(first).to(dtype),
        first_bias,
        taps_first(second).to(dtype),
        second_bias,
        torch.stack([high, (taps - high.double()).to(dtype)]),
        bias,
    )


@triton.jit
def _leaky(values, slope):
    return tl.where(values > 0, values, slope * values)


@triton.jit
def _blend(
    source, shares, which, top, left, offsets, channels, inside, height, width, batch, share_source, share_image,
    share_channel, SOURCES: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """Return Σ share · features over the sources at pixels of a tile: (N, INPUTS), float32."""
    total = tl.zeros((offsets.shape[0], INPUTS), tl.float32)
    for index in tl.static_range(SOURCES):
        first = first_pixel(which + index * batch, top, left, height, width) * INPUTS
        pixels = tl.load(source + first + offsets[:, None] + channels[None, :], mask=inside[:, None], other=0.0)
        share = tl.load(shares + index * share_source + which * share_image + channels * share_channel)
        total += share[None, :] * pixels.to(tl.float32)
    return total


@triton.jit
def _convolve_blend(
    source, shares, weight, which, top, left, rows, columns, height, width, batch,
    share_source, share_image, share_channel,
    N: tl.constexpr, SOURCES: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return a zero-padded 3×3 convolution of the weighted sum of the sources: (N, OUTPUTS), float32."""
    inputs = tl.arange(0, INPUTS)
    outputs = tl.arange(0, OUTPUTS)
    total = tl.zeros((N, OUTPUTS), tl.float32)
    for tap in range(9):
        down = tap // 3 - 1
        right = tap % 3 - 1
        y = top + rows + down
        x = left + columns + right
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        offsets = ((rows + down) * width + columns + right) * INPUTS
        pixels = _blend(
            source, shares, which, top, left, offsets, inputs, inside, height, width, batch,
            share_source, share_image, share_channel, SOURCES, INPUTS,
        ).to(weight.dtype.element_ty)  # fmt: skip
        kernel = tl.load(weight + tap * INPUTS * OUTPUTS + inputs[:, None] * OUTPUTS + outputs[None, :])
        total = product(pixels, kernel, total, PRECISION)
    return total


@triton.jit
def convolve_kernel(
    source, shares, weight, bias, out, slope, batch, share_source, share_image, share_channel, height, width,
    SOURCES: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, PRECISION: tl.constexpr,
    TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute a tile of `convolve`."""
    N: tl.constexpr = TILE_HEIGHT * TILE_WIDTH
    which, top, left = tile_of_program(height, width, TILE_HEIGHT, TILE_WIDTH)
    pixel = tl.arange(0, N)
    rows = pixel // TILE_WIDTH
    columns = pixel % TILE_WIDTH
    if SOURCES == 0:
        first = source + first_pixel(which, top, left, height, width) * INPUTS
        total = convolve_3x3(first, weight, top, left, rows, columns, height, width, N, INPUTS, OUTPUTS, PRECISION)
    else:
        total = _convolve_blend(
            source, shares, weight, which, top, left, rows, columns, height, width, batch,
            share_source, share_image, share_channel, N, SOURCES, INPUTS, OUTPUTS, PRECISION,
        )  # fmt: skip
    outputs = tl.arange(0, OUTPUTS)
    total = _leaky(total + tl.load(bias + outputs)[None, :], slope)
    inside = (top + rows < height) & (left + columns < width)
    offsets = ((rows * width + columns) * OUTPUTS)[:, None] + outputs[None, :]
    place = out + first_pixel(which, top, left, height, width) * OUTPUTS + offsets
    tl.store(place, total.to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def convolve_to_taps_kernel(
    source, weight, bias, taps, planes, slope, height, width,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, PRECISION: tl.constexpr,
    TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute a tile of `convolve_to_taps`."""
    N: tl.constexpr = TILE_HEIGHT * TILE_WIDTH
    dtype: tl.constexpr = weight.dtype.element_ty
    which, top, left = tile_of_program(height, width, TILE_HEIGHT, TILE_WIDTH)
    pixel = tl.arange(0, N)
    rows = pixel // TILE_WIDTH
    columns = pixel % TILE_WIDTH
    first = source + first_pixel(which, top, left, height, width) * INPUTS
    hidden = convolve_3x3(first, weight, top, left, rows, columns, height, width, N, INPUTS, OUTPUTS, PRECISION)
    outputs = tl.arange(0, OUTPUTS)
    hidden = _leaky(hidden + tl.load(bias + outputs)[None, :], slope).to(dtype)
    tap = tl.arange(0, 16)
    factors = taps + outputs[:, None] * 16 + tap[None, :]
    products = product(hidden, tl.load(factors), tl.zeros((N, 16), tl.float32), PRECISION)
    if dtype != tl.float32:
        products = product(hidden, tl.load(factors + OUTPUTS * 16), products, PRECISION)
    inside = (top + rows < height) & (left + columns < width)
    plane = (which.to(tl.int64) * 9 + tap) * height * width
    place = planes + plane[None, :] + ((top + rows) * width + left + columns)[:, None]
    tl.store(place, products, mask=inside[:, None] & (tap < 9)[None, :])


@triton.jit
def sum_taps_kernel(planes, bias, out, height, width, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr):
    """Compute a tile of `sum_taps`."""
    which, top, left = tile_of_program(height, width, TILE_HEIGHT, TILE_WIDTH)
    pixel = tl.arange(0, TILE_HEIGHT * TILE_WIDTH)
    rows = top + pixel // TILE_WIDTH
    columns = left + pixel % TILE_WIDTH
    planes += which.to(tl.int64) * 9 * height * width
    total = tl.zeros((TILE_HEIGHT * TILE_WIDTH,), tl.float32) + tl.load(bias)
    for tap in tl.static_range(9):
        y = rows + tap // 3 - 1
        x = columns + tap % 3 - 1
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        total += tl.load(planes + y * width + x, mask=inside, other=0.0)
        planes += height * width
    inside = (rows < height) & (columns < width)
    out += which.to(tl.int64) * height * width
    tl.store(out + rows * width + columns, total.to(out.dtype.element_ty), mask=inside)


def decode(
    features: Tensor,
    weights: DecoderWeights,
    negative_slope: float,
    shares: Tensor | None = None,
    precision: str = "ieee",
) -> Tensor:
    """Return the image (B, 1, H, W) of fused features, in their dtype.

    Args:
        features: (B, C, H, W), or those of N sources (N·B, C, H, W), source by source; channels last.
        weights: from `decoder_weights`, in the dtype of ``features``.
        negative_slope: of the leaky ReLU between the layers; 1 for none.
        shares: weights of the sources (N, B, 1 or C) float32; without them ``features`` are fused already.
        precision: of float32 products.
    """
    hidden = convolve(features, weights.first, weights.first_bias, negative_slope, shares, precision)
    planes = convolve_to_taps(hidden, weights, negative_slope, precision)
    return sum_taps(planes, weights.bias, hidden.dtype)


def convolve_to_taps(hidden: Tensor, weights: DecoderWeights, negative_slope: float, precision: str = "ieee") -> Tensor:
    """Return the nine products of each pixel of the second layer with the taps of the last: (B, 9, H, W), float32."""
    batch, channels, height, width = hidden.shape
    planes = torch.empty((batch, 9, height, width), dtype=torch.float32, device=hidden.device)
    chosen = setting("taps", hidden.dtype, hidden.device)
    convolve_to_taps_kernel[(chosen.programs(batch, height, width),)](
        hidden, weights.second, weights.second_bias, weights.taps, planes, float(negative_slope), height, width,
        INPUTS=channels, OUTPUTS=len(weights.second_bias), PRECISION=precision,
        **chosen.constants(), **chosen.options(),
    )  # fmt: skip
    return planes


def sum_taps(planes: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the image (B, 1, H, W) in ``dtype``: the planes (B, 9, H, W), each shifted to its place, and the bias."""
    batch, _, height, width = planes.shape
    image = torch.empty((batch, 1, height, width), dtype=dtype, device=planes.device)
    chosen = setting("sum_taps", dtype, planes.device)
    sum_taps_kernel[(chosen.programs(batch, height, width),)](
        planes, bias, image, height, width, **chosen.constants(), **chosen.options()
    )
    return image


def convolve(
    source: Tensor,
    weight: Tensor,
    bias: Tensor,
    negative_slope: float = 1.0,
    shares: Tensor | None = None,
    precision: str = "ieee",
) -> Tensor:
    """Return a zero-padded 3×3 convolution with bias and leaky ReLU: (B, O, H, W), channels last, as ``source`` is.

    Args:
        source: (B, C, H, W), or N sources (N·B, C, H, W) that ``shares`` blend; copied unless channels last.
        weight: (9, C, O), C and O powers of two from 16, in the dtype of ``source``.
        bias: (O,) float32.
        negative_slope: of the leaky ReLU; 1 for none.
        shares: (N, B, 1 or C) float32.
        precision: of float32 products.
    """
    source = source.contiguous(memory_format=torch.channels_last)
    total, channels, height, width = source.shape
    sources, batch = (0, total) if shares is None else shares.shape[:2]
    shares = bias if shares is None else shares.expand(sources, batch, channels)
    strides = shares.stride() if sources else (0, 0, 0)
    shape = (batch, len(bias), height, width)
    out = torch.empty(shape, dtype=source.dtype, device=source.device, memory_format=torch.channels_last)
    chosen = setting("blend" if sources else "convolve", source.dtype, source.device)
    convolve_kernel[(chosen.programs(batch, height, width),)](
        source, shares, weight, bias, out, float(negative_slope), batch, *strides, height, width,
        SOURCES=sources, INPUTS=channels, OUTPUTS=len(bias), PRECISION=precision,
        **chosen.constants(), **chosen.options(),
    )  # fmt: skip
    return out


def convolve_twin(
    source: Tensor, weight: Tensor, bias: Tensor, negative_slope: float = 1.0, shares: Tensor | None = None
) -> Tensor:
    """Do as `convolve` in plain torch, in float32 but for what the kernel multiplies in another dtype."""
    dtype, source = source.dtype, source.float()
    if shares is not None:
        source = (shares[..., None, None] * source.unflatten(0, shares.shape[:2])).sum(0)
    source = source.to(dtype).float()
    out = F.leaky_relu(F.conv2d(source, convolution_of(weight.float()), bias, padding=1), negative_slope)
    return out.to(dtype, memory_format=torch.channels_last)


def decode_twin(
    features: Tensor, weights: DecoderWeights, negative_slope: float, shares: Tensor | None = None
) -> Tensor:
    """Do as `decode` in plain torch, layer by layer."""
    hidden = convolve_twin(features, weights.first, weights.first_bias, negative_slope, shares)
    planes = convolve_to_taps_twin(hidden, weights, negative_slope)
    return sum_taps_twin(planes, weights.bias, features.dtype)


def convolve_to_taps_twin(hidden: Tensor, weights: DecoderWeights, negative_slope: float) -> Tensor:
    """Do as `convolve_to_taps` in plain torch."""
    hidden = convolve_twin(hidden, weights.second, weights.second_bias, negative_slope)
    return torch.einsum("bchw,ct->bthw", hidden.float(), weights.taps.float().sum(0)[:, :9]).contiguous()


def sum_taps_twin(planes: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Do as `sum_taps` in plain torch."""
    height, width = planes.shape[2:]
    padded = F.pad(planes, (1, 1, 1, 1))
    total = sum(padded[:, tap, tap // 3 : tap // 3 + height, tap % 3 : tap % 3 + width] for tap in range(9))
    return (bias + total)[:, None].to(dtype)
