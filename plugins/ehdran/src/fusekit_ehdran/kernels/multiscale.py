"""The multiscale stage in one pass: from the one-channel image to C channels, channels last.

With the gate p = relu(up₂(avgpool₂(x))) it is the sum of dilated 3×3 convolutions of the maps [x, p·x, p] with
composed weights (`fusekit_ehdran.fast.algebra`), the BatchNorm folded in. Taps of several dilations that meet at one
pixel are one tap: three dilations have 25 instead of 27. Each of the three maps is a matrix product of N pixels × taps
with taps × C; the maps are made of the image where they are needed and never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from fusekit_ehdran.encoder import pooling_gate
from fusekit_ehdran.kernels.common import first_pixel, product, tile_of_program, tile_pixels
from fusekit_ehdran.kernels.settings import setting


class MultiscaleWeights(NamedTuple):
    """Composed weights of the multiscale stage.

    Attributes:
        taps: (T, 2) int32, rows down and columns right of each tap; T is a power of two, 16 or more, and spare taps
            have weights of zero.
        weight: (3, T, C), of the maps x, p·x and p.
        bias: (C,) float32.
    """

    taps: Tensor
    weight: Tensor
    bias: Tensor


def compose_taps(
    weights: Sequence[Tensor], dilations: Sequence[int], bias: Tensor, dtype: torch.dtype
) -> MultiscaleWeights:
    """Return what the kernel takes of convolution weights (C, 3, 3, 3), one a dilation, and their bias (C,)."""
    places: dict[tuple[int, int], Tensor] = {}
    for weight, dilation in zip(weights, dilations, strict=True):
        for row in range(3):
            for column in range(3):
                place = ((row - 1) * dilation, (column - 1) * dilation)
                places[place] = places.get(place, 0) + weight[:, :, row, column]
    spare = triton.next_power_of_2(max(len(places), 16)) - len(places)
    columns = torch.stack([each.T for each in places.values()], dim=1)
    taps = torch.tensor([*places, *[(0, 0)] * spare], dtype=torch.int32, device=bias.device)
    return MultiscaleWeights(taps, F.pad(columns, (0, 0, 0, spare)).to(dtype).contiguous(), bias.float())


@triton.jit
def multiscale_kernel(
    image, taps, weight, bias, out, height, width,
    CHANNELS: tl.constexpr, TAPS: tl.constexpr, PRECISION: tl.constexpr,
    TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute a tile of `multiscale`."""
    which, top, left = tile_of_program(height, width, TILE_HEIGHT, TILE_WIDTH)
    rows, columns = tile_pixels(TILE_HEIGHT, TILE_WIDTH)
    tap = tl.arange(0, TAPS)
    channels = tl.arange(0, CHANNELS)
    plane = image + first_pixel(which, 0, 0, height, width)
    y = (top + rows)[:, None] + tl.load(taps + 2 * tap)[None, :]
    x = (left + columns)[:, None] + tl.load(taps + 2 * tap + 1)[None, :]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    value = tl.load(plane + y * width + x, mask=inside, other=0.0).to(tl.float32)
    # The block that a tap's pixel lies in, of which an odd last row or column has only a part.
    y -= y % 2
    x -= x % 2
    block = plane + y * width + x
    right = inside & (x + 1 < width)
    below = inside & (y + 1 < height)
    total = tl.load(block, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(block + 1, mask=right, other=0.0).to(tl.float32)
    total += tl.load(block + width, mask=below, other=0.0).to(tl.float32)
    total += tl.load(block + width + 1, mask=right & below, other=0.0).to(tl.float32)
    count = (1.0 + right.to(tl.float32)) * (1.0 + below.to(tl.float32))
    gate = tl.maximum(total / count, 0.0)
    kernel = weight + tap[:, None] * CHANNELS + channels[None, :]
    dtype = weight.dtype.element_ty
    result = tl.zeros((TILE_HEIGHT * TILE_WIDTH, CHANNELS), tl.float32) + tl.load(bias + channels)[None, :]
    result = product(value.to(dtype), tl.load(kernel), result, PRECISION)
    kernel += TAPS * CHANNELS
    result = product((gate * value).to(dtype), tl.load(kernel), result, PRECISION)
    kernel += TAPS * CHANNELS
    result = product(gate.to(dtype), tl.load(kernel), result, PRECISION)
    stored = (top + rows < height) & (left + columns < width)
    offsets = (rows * width + columns) * CHANNELS
    first = out + first_pixel(which, top, left, height, width) * CHANNELS
    tl.store(first + offsets[:, None] + channels[None, :], result.to(out.dtype.element_ty), mask=stored[:, None])


def multiscale(x: Tensor, weights: MultiscaleWeights, precision: str = "ieee") -> Tensor:
    """Return the normalised multiscale features of x (B, 1, H, W): (B, C, H, W), channels last, in the weights' dtype.

    Args:
        x: float32 or bfloat16, contiguous.
        weights: from `compose_taps`.
        precision: of float32 products: ``ieee``, ``tf32x3`` or ``tf32``.
    """
    batch, _, height, width = x.shape
    _, taps, channels = weights.weight.shape
    out = torch.empty(
        (batch, channels, height, width), dtype=weights.weight.dtype, device=x.device, memory_format=torch.channels_last
    )
    chosen = setting("multiscale", out.dtype, x.device)
    multiscale_kernel[(chosen.programs(batch, height, width),)](
        x, *weights, out, height, width,
        CHANNELS=channels, TAPS=taps, PRECISION=precision, **chosen.constants(), **chosen.options(),
    )  # fmt: skip
    return out


def multiscale_twin(x: Tensor, weights: MultiscaleWeights) -> Tensor:
    """Do as `multiscale` in plain torch and the weights' dtype, tap by tap."""
    dtype = weights.weight.dtype
    gate = pooling_gate(x.float())
    maps = torch.cat([x, gate * x, gate], dim=1).to(dtype).float()
    reach = int(weights.taps.abs().max())
    padded, (height, width) = F.pad(maps, (reach,) * 4), x.shape[2:]
    total = weights.bias[:, None, None].expand(len(x), -1, height, width)
    for (down, right), weight in zip(weights.taps.tolist(), weights.weight.float().unbind(1), strict=True):
        window = padded[:, :, reach + down : reach + down + height, reach + right : reach + right + width]
        total = total + torch.einsum("bjhw,jc->bchw", window, weight)
    return total.to(dtype, memory_format=torch.channels_last)
