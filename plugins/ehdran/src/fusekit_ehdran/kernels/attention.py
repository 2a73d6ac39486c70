"""Residual attention and the outer attention, in three launches of one 3×3 convolution by matrix products.

With the shared convolution c = k∗· + b, the sum c(t) + c(c(t)) + c(c(c(t))) is k∗v + 3b, where u = k∗t + b + t and
v = k∗u + 2b + t (`fusekit_ehdran.fast.form`): the first two launches end with the sum that the next one convolves. The
last one ends with the pooling gate of t, the BatchNorm and the outer attention, for which x₆₄ and its gate are made of
the one-channel image: x₆₄ = x + p·(w·x + b), and over a 2×2 block, where p is one value, its mean is m + p·(w·m + b)
with the mean m of x.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from fusekit_ehdran.encoder import pooling_gate
from fusekit_ehdran.kernels.common import block_means, convolve_3x3, first_pixel, tile_of_program, tile_pixels
from fusekit_ehdran.kernels.settings import setting


class AttentionWeights(NamedTuple):
    """Weights of both attentions; those of the last convolution carry the BatchNorm's scale s.

    Attributes:
        shared: (9, C, C), the kernel k of the shared convolution, tap by tap from inputs to outputs.
        scaled: (9, C, C), s·k.
        bias: (C,) float32, b.
        affine: (5, C) float32: 3·s·b, s, the BatchNorm's shift, and slope w and offset b of the shallow features.
    """

    shared: Tensor
    scaled: Tensor
    bias: Tensor
    affine: Tensor


def taps_first(weight: Tensor) -> Tensor:
    """Turn the weight of a 3×3 convolution (O, C, 3, 3) into (9, C, O)."""
    return weight.permute(2, 3, 1, 0).reshape(9, weight.shape[1], weight.shape[0]).contiguous()


def convolution_of(taps: Tensor) -> Tensor:
    """Turn (9, C, O) back into the weight of a 3×3 convolution (O, C, 3, 3)."""
    return taps.unflatten(0, (3, 3)).permute(3, 2, 0, 1)


@triton.jit
def convolve_and_add_kernel(
    source, weight, bias, added, out, factor, height, width,
    CHANNELS: tl.constexpr, PRECISION: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute a tile of `convolve_and_add`."""
    which, top, left = tile_of_program(height, width, TILE_HEIGHT, TILE_WIDTH)
    rows, columns = tile_pixels(TILE_HEIGHT, TILE_WIDTH)
    channels = tl.arange(0, CHANNELS)
    first = first_pixel(which, top, left, height, width) * CHANNELS
    total = convolve_3x3(
        source + first, weight, top, left, rows, columns, height, width,
        TILE_HEIGHT * TILE_WIDTH, CHANNELS, CHANNELS, PRECISION,
    )  # fmt: skip
    inside = ((top + rows < height) & (left + columns < width))[:, None]
    offsets = ((rows * width + columns) * CHANNELS)[:, None] + channels[None, :]
    total += factor * tl.load(bias + channels)[None, :]
    total += tl.load(added + first + offsets, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + first + offsets, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def convolve_and_attend_kernel(
    source, weight, affine, multiscale, image, out, height, width,
    CHANNELS: tl.constexpr, PRECISION: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute a tile of `convolve_and_attend`."""
    N: tl.constexpr = TILE_HEIGHT * TILE_WIDTH
    which, top, left = tile_of_program(height, width, TILE_HEIGHT, TILE_WIDTH)
    rows, columns = tile_pixels(TILE_HEIGHT, TILE_WIDTH)
    channels = tl.arange(0, CHANNELS)
    pixel = first_pixel(which, top, left, height, width)
    first = pixel * CHANNELS
    deep = convolve_3x3(
        source + first, weight, top, left, rows, columns, height, width, N, CHANNELS, CHANNELS, PRECISION
    )
    inside = (top + rows < height) & (left + columns < width)
    offsets = ((rows * width + columns) * CHANNELS)[:, None] + channels[None, :]
    t = tl.load(multiscale + first + offsets, mask=inside[:, None], other=0.0).to(tl.float32)
    deep += tl.load(affine + channels)[None, :]
    deep *= tl.maximum(block_means(t, inside, N, CHANNELS), 0.0)
    deep += tl.load(affine + CHANNELS + channels)[None, :] * t + tl.load(affine + 2 * CHANNELS + channels)[None, :]
    x = tl.load(image + pixel + rows * width + columns, mask=inside, other=0.0).to(tl.float32)[:, None]
    mean = block_means(x, inside, N, 1)
    gate = tl.maximum(mean, 0.0)
    slope = tl.load(affine + 3 * CHANNELS + channels)[None, :]
    offset = tl.load(affine + 4 * CHANNELS + channels)[None, :]
    outer_gate = tl.maximum(mean + gate * (slope * mean + offset), 0.0)
    features = outer_gate * deep + x + gate * (slope * x + offset)
    tl.store(out + first + offsets, features.to(out.dtype.element_ty), mask=inside[:, None])


def attention(x: Tensor, multiscale: Tensor, weights: AttentionWeights, precision: str = "ieee") -> Tensor:
    """Return the encoder's features without those of the edge operator: (B, C, H, W), channels last.

    Args:
        x: the image (B, 1, H, W), float32 or bfloat16, contiguous.
        multiscale: t (B, C, H, W), channels last.
        weights: in the dtype of ``multiscale``.
        precision: of float32 products: ``ieee``, ``tf32x3`` or ``tf32``.
    """
    once = convolve_and_add(multiscale, weights.shared, weights.bias, multiscale, 1.0, precision)
    twice = convolve_and_add(once, weights.shared, weights.bias, multiscale, 2.0, precision)
    # The first sum is needed no more, and its memory takes the result.
    return convolve_and_attend(x, twice, multiscale, weights, once, precision)


def convolve_and_add(
    source: Tensor, weight: Tensor, bias: Tensor, added: Tensor, factor: float, precision: str = "ieee"
) -> Tensor:
    """Return k∗source + factor·bias + added, (B, C, H, W) channels last."""
    batch, channels, height, width = source.shape
    out = torch.empty_like(source)
    chosen = setting("shared", source.dtype, source.device)
    convolve_and_add_kernel[(chosen.programs(batch, height, width),)](
        source, weight, bias, added, out, factor, height, width,
        CHANNELS=channels, PRECISION=precision, **chosen.constants(), **chosen.options(),
    )  # fmt: skip
    return out


def convolve_and_attend(
    x: Tensor, source: Tensor, multiscale: Tensor, weights: AttentionWeights, out: Tensor, precision: str = "ieee"
) -> Tensor:
    """Write the features to ``out`` and return it; ``source`` is v, and the rest as in `attention`."""
    batch, channels, height, width = source.shape
    chosen = setting("attend", source.dtype, x.device)
    convolve_and_attend_kernel[(chosen.programs(batch, height, width),)](
        source, weights.scaled, weights.affine, multiscale, x, out, height, width,
        CHANNELS=channels, PRECISION=precision, **chosen.constants(), **chosen.options(),
    )  # fmt: skip
    return out


def attention_twin(x: Tensor, multiscale: Tensor, weights: AttentionWeights) -> Tensor:
    """Do as `attention` in plain torch: float32 within a launch, what launches hand on in the dtype of the weights."""
    once = convolve_and_add_twin(multiscale, weights.shared, weights.bias, multiscale, 1.0)
    twice = convolve_and_add_twin(once, weights.shared, weights.bias, multiscale, 2.0)
    return convolve_and_attend_twin(x, twice, multiscale, weights)


def convolve_and_add_twin(source: Tensor, weight: Tensor, bias: Tensor, added: Tensor, factor: float) -> Tensor:
    """Do as `convolve_and_add` in plain torch."""
    total = F.conv2d(source.float(), convolution_of(weight.float()), factor * bias, padding=1) + added.float()
    return total.to(source.dtype, memory_format=torch.channels_last)


def convolve_and_attend_twin(x: Tensor, source: Tensor, multiscale: Tensor, weights: AttentionWeights) -> Tensor:
    """Do as `convolve_and_attend` in plain torch."""
    t, x = multiscale.float(), x.float()
    bias, scale, shift, slope, offset = weights.affine[:, :, None, None]
    deep = F.conv2d(source.float(), convolution_of(weights.scaled.float()), padding=1) + bias
    deep = pooling_gate(t) * deep + scale * t + shift
    gated = x + pooling_gate(x) * (slope * x + offset)
    features = pooling_gate(gated) * deep + gated
    return features.to(source.dtype, memory_format=torch.channels_last)
