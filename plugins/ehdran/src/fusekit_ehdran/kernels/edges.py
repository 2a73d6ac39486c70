"""DRGO, the edge enhancer, straight from the one-channel image in one launch, added to the features where they lie.

Whatever reads the shallow features reads the maps [x, 1] instead (`fusekit_ehdran.fast.algebra`), the ones map
zero-padded with x. A pixel's patch, the nine values of either map around it, is a row of 18 numbers, and a 3×3
convolution of the maps a product with it. The output of the first layer is needed at nine places for each pixel of the
second one; it is computed anew at each of them, which costs 18,432 multiply-adds a pixel beside 90,112 and saves
writing and reading 64 channels. All else stays in registers: the second layer of 128 channels, its projection, and the
gradient path.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from fusekit.extend import InputError
from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.fast.algebra import bias_of, compose_edges
from fusekit_ehdran.kernels.attention import convolution_of, taps_first
from fusekit_ehdran.kernels.common import first_pixel, product, tile_of_program
from fusekit_ehdran.kernels.settings import setting

#: Rows of a weight on one map: its nine taps, and zeros up to what a matrix product takes.
_ROWS = 16
_TAPS = tl.constexpr(_ROWS)


class EdgeWeights(NamedTuple):
    """Weights of DRGO on the maps [x, 1]; what it adds carries the edge gain.

    Attributes:
        first: (32, C), the first convolution: the taps of x and zeros, those of the ones map and zeros.
        first_bias: (C,) float32.
        second_of_maps: (32, 2C), the half of the second convolution that reads the shallow features.
        second: (9, C, 2C), its half that reads the output of the first one, tap by tap.
        second_bias: (2C,) float32.
        along: (64, C), the gradient filters, that of columns after that of rows.
        project: (2C, C), the projection of the dense path.
        project_gradient: (C, C), that of the gradient path.
        bias: (C,) float32, of both projections.
    """

    first: Tensor
    first_bias: Tensor
    second_of_maps: Tensor
    second: Tensor
    second_bias: Tensor
    along: Tensor
    project: Tensor
    project_gradient: Tensor
    bias: Tensor


def edge_weights(module: DenseResidualGradient, basis: Tensor, gain: float, dtype: torch.dtype) -> EdgeWeights:
    """Return the weights of ``module`` in ``dtype``.

    Args:
        module: in float64.
        basis: (C, 2) in float64, the shallow features of the maps [x, 1].
        gain: factor on what the module returns.
        dtype: float32 or bfloat16; biases are float32.
    """
    dense, composed = module.dense, compose_edges(module, basis)
    project, project_gradient = (gain * each.weight.flatten(1).T for each in (dense.project, module.gradient.project))
    return EdgeWeights(
        _rows_of_maps(composed.first).to(dtype),
        bias_of(dense.first).float(),
        _rows_of_maps(composed.second).to(dtype),
        taps_first(dense.second.weight[:, len(basis) :]).to(dtype),
        bias_of(dense.second).float(),
        torch.cat([_rows_of_maps(composed.along_x), _rows_of_maps(composed.along_y)]).to(dtype),
        project.contiguous().to(dtype),
        project_gradient.contiguous().to(dtype),
        (gain * (bias_of(dense.project) + bias_of(module.gradient.project))).float(),
    )


def _rows_of_maps(weight: Tensor) -> Tensor:
    """Turn the weight (O, 2, 3, 3) of a convolution of the maps [x, 1] into (32, O)."""
    rows = weight.permute(1, 2, 3, 0).flatten(1, 2)
    return F.pad(rows, (0, 0, 0, _ROWS - 9)).flatten(0, 1).contiguous()


@triton.jit
def _convolve_maps(total, image, y, x, height, width, weight, outputs, STRIDE: tl.constexpr, PRECISION: tl.constexpr):
    """Return ``total`` (N, O) plus a convolution of the maps at pixels (N,), for some outputs (O,) of its STRIDE."""
    tap = tl.arange(0, _TAPS)
    y = y[:, None] + (tap // 3 - 1)[None, :]
    x = x[:, None] + (tap % 3 - 1)[None, :]
    inside = (tap < 9)[None, :] & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    values = tl.load(image + y * width + x, mask=inside, other=0.0)
    dtype = weight.dtype.element_ty
    factors = weight + tap[:, None] * STRIDE + outputs[None, :]
    total = product(values.to(dtype), tl.load(factors), total, PRECISION)
    return product(inside.to(tl.float32).to(dtype), tl.load(factors + _TAPS * STRIDE), total, PRECISION)


@triton.jit
def _project(total, values, weight, START: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    """Return ``total`` (N, CHANNELS) plus ``values`` (N, K) times rows START … START + K of a weight."""
    rows = START + tl.arange(0, values.shape[1])
    factors = tl.load(weight + rows[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :])
    return product(values, factors, total, PRECISION)


@triton.jit
def _halves(values):
    """Return the left and the right half of the columns of ``values``."""
    N: tl.constexpr = values.shape[0]
    K: tl.constexpr = values.shape[1]
    return tl.split(tl.permute(tl.reshape(values, (N, 2, K // 2)), (0, 2, 1)))


@triton.jit
def _project_by_halves(total, values, weight, START: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    HALF: tl.constexpr = values.shape[1] // 2
    left, right = _halves(values)
    total = _project(total, left, weight, START, CHANNELS, PRECISION)
    return _project(total, right, weight, START + HALF, CHANNELS, PRECISION)


@triton.jit
def _project_by_quarters(total, values, weight, START: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    HALF: tl.constexpr = values.shape[1] // 2
    left, right = _halves(values)
    total = _project_by_halves(total, left, weight, START, CHANNELS, PRECISION)
    return _project_by_halves(total, right, weight, START + HALF, CHANNELS, PRECISION)


@triton.jit
def _project_by_eighths(total, values, weight, START: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    HALF: tl.constexpr = values.shape[1] // 2
    left, right = _halves(values)
    total = _project_by_quarters(total, left, weight, START, CHANNELS, PRECISION)
    return _project_by_quarters(total, right, weight, START + HALF, CHANNELS, PRECISION)


@triton.jit
def _leaky(values):
    return tl.maximum(values, 0.2 * values)


@triton.jit
def add_edges_kernel(
    image, first, first_bias, second_of_maps, second, second_bias, along, project, project_gradient, bias, features,
    height, width,
    CHANNELS: tl.constexpr, PRECISION: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute a tile of `add_edges`."""
    N: tl.constexpr = TILE_HEIGHT * TILE_WIDTH
    WIDE: tl.constexpr = 2 * CHANNELS
    dtype: tl.constexpr = features.dtype.element_ty
    # Products without tensor cores hold their operands in registers, and so go in thin slices.
    SLICED: tl.constexpr = dtype == tl.float32 and PRECISION == "ieee"
    PART: tl.constexpr = 16 if SLICED else CHANNELS
    which, top, left = tile_of_program(height, width, TILE_HEIGHT, TILE_WIDTH)
    pixel = tl.arange(0, N)
    rows = pixel // TILE_WIDTH
    columns = pixel % TILE_WIDTH
    y = top + rows
    x = left + columns
    image += which.to(tl.int64) * height * width
    wide = tl.arange(0, WIDE)
    hidden = tl.zeros((N, WIDE), tl.float32) + tl.load(second_bias + wide)[None, :]
    hidden = _convolve_maps(hidden, image, y, x, height, width, second_of_maps, wide, WIDE, PRECISION)
    for step in range(9 * (CHANNELS // PART)):
        tap = step // (CHANNELS // PART)
        part = step % (CHANNELS // PART) * PART + tl.arange(0, PART)
        near_y = y + tap // 3 - 1
        near_x = x + tap % 3 - 1
        near = tl.zeros((N, PART), tl.float32) + tl.load(first_bias + part)[None, :]
        near = _convolve_maps(near, image, near_y, near_x, height, width, first, part, CHANNELS, PRECISION)
        # The second layer pads what the first one made.
        inside = (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
        near = tl.where(inside[:, None], _leaky(near), 0.0)
        factors = tl.load(second + (tap * CHANNELS + part)[:, None] * WIDE + wide[None, :])
        hidden = product(near.to(dtype), factors, hidden, PRECISION)
    hidden = _leaky(hidden).to(dtype)
    channels = tl.arange(0, CHANNELS)
    total = tl.zeros((N, CHANNELS), tl.float32) + tl.load(bias + channels)[None, :]
    if SLICED:
        total = _project_by_eighths(total, hidden, project, 0, CHANNELS, PRECISION)
    else:
        total = _project(total, hidden, project, 0, CHANNELS, PRECISION)
    for start in range(0, CHANNELS, PART):
        part = start + tl.arange(0, PART)
        zeros = tl.zeros((N, PART), tl.float32)
        along_x = _convolve_maps(zeros, image, y, x, height, width, along, part, CHANNELS, PRECISION)
        along_y = _convolve_maps(
            zeros, image, y, x, height, width, along + 2 * _TAPS * CHANNELS, part, CHANNELS, PRECISION
        )
        gradient = (tl.abs(along_x) + tl.abs(along_y)).to(dtype)
        factors = tl.load(project_gradient + part[:, None] * CHANNELS + channels[None, :])
        total = product(gradient, factors, total, PRECISION)
    inside = ((y < height) & (x < width))[:, None]
    offsets = ((rows * width + columns) * CHANNELS)[:, None] + channels[None, :]
    place = features + first_pixel(which, top, left, height, width) * CHANNELS + offsets
    total += tl.load(place, mask=inside, other=0.0).to(tl.float32)
    tl.store(place, total.to(dtype), mask=inside)


def add_edges(features: Tensor, x: Tensor, weights: EdgeWeights, precision: str = "ieee") -> Tensor:
    """Add DRGO's features of an image to those of the rest of the encoder, in place, and return them.

    Args:
        features: (B, C, H, W), channels last, in the dtype of ``weights``.
        x: the image (B, 1, H, W), float32 or bfloat16.
        weights: from `edge_weights`.
        precision: of float32 products: ``ieee`` or ``tf32``.

    Raises:
        InputError: the features are not channels last, and a copy would not be what the caller holds.
    """
    if not features.is_contiguous(memory_format=torch.channels_last):
        raise InputError("edges are added in place to features that lie channels last, and these do not")
    batch, channels, height, width = features.shape
    chosen = setting("edges", features.dtype, features.device)
    add_edges_kernel[(chosen.programs(batch, height, width),)](
        x.contiguous(), *weights, features, height, width,
        CHANNELS=channels, PRECISION=precision, **chosen.constants(), **chosen.options(),
    )  # fmt: skip
    return features


def add_edges_twin(features: Tensor, x: Tensor, weights: EdgeWeights) -> Tensor:
    """Do as `add_edges` in plain torch: float32, and the dtype of the weights where the kernel multiplies in it."""
    dtype = features.dtype
    image = x.to(dtype).float()
    maps = torch.cat([image, torch.ones_like(image)], dim=1)
    first = F.conv2d(maps, _convolution_of_maps(weights.first), weights.first_bias, padding=1)
    first = F.leaky_relu(first, 0.2).to(dtype).float()
    hidden = F.conv2d(maps, _convolution_of_maps(weights.second_of_maps), weights.second_bias, padding=1)
    hidden = hidden + F.conv2d(first, convolution_of(weights.second.float()), padding=1)
    hidden = F.leaky_relu(hidden, 0.2).to(dtype).float()
    along_x, along_y = (F.conv2d(maps, _convolution_of_maps(each), padding=1) for each in weights.along.chunk(2))
    gradient = (along_x.abs() + along_y.abs()).to(dtype).float()
    edges = F.conv2d(hidden, weights.project.float().T[:, :, None, None], weights.bias)
    edges = edges + F.conv2d(gradient, weights.project_gradient.float().T[:, :, None, None])
    return features.copy_(features.float() + edges)


def _convolution_of_maps(rows: Tensor) -> Tensor:
    """Turn (32, O) back into the weight of a convolution of the maps [x, 1] (O, 2, 3, 3), float32."""
    return rows.float().unflatten(0, (2, _ROWS))[:, :9].unflatten(1, (3, 3)).permute(3, 0, 1, 2)
