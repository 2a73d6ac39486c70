"""The inference form of MSRPAN: the same function as the plain modules, composed anew at each call and cheap to run.

- Averaging over 2×2 blocks undoes repeating over them, so that all of the encoder but its end runs at half the size.
  With P averaging, U repeating, t = w·x + b the shallow features and A the product of the BatchNorm scales passed, what
  comes out of a block is A·w·(x − U(P(x))) + U(d), d being its own average: one map of half the size says it.
  The features are P(a) + relu(P(a))·d of half the size, a being the attended image, and, times 1 + w·relu(P(x)) +
  A·w·relu(P(a)), what a pixel differs from P(x): a multiply-add a feature of the full size.
- BatchNorm is folded, in float64.
- The decoder is one 5×5 convolution C → 1 but for the outermost pixels, where the zeros outside show between its
  layers; there the layers run.
- Maps lie channels last in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import keep_freed_memory
from fusekit_msrpan.network import Decoder, Encoder, pooled, spread

_LAST = torch.channels_last


def encode(encoder: Encoder, x: Tensor) -> Tensor:
    """Do as ``encoder(x)`` in evaluation mode: (B, 1, H, W) → (B, C, H, W), channels last."""
    if x.device.type == "cpu":
        keep_freed_memory()
    scale, shift = _affine(encoder.block.norm)
    slope = encoder.shallow.weight.double().flatten()
    maps = (scale, shift, slope, slope * scale**encoder.passes)
    scale, shift, slope, deep_slope = (each.to(x.dtype)[:, None, None] for each in maps)
    shared = _Shared(encoder.block.shared)
    small = pooled(x)
    shallow = deep = encoder.shallow(small).contiguous(memory_format=_LAST)
    for _ in range(encoder.passes):
        deep = torch.addcmul(shift, scale, deep + F.relu(deep) * _pyramid(shared, deep))
    of_x = F.relu(small)
    attended = of_x * shallow + small
    of_attended = F.relu(attended)
    factor = torch.addcmul(of_x * slope + 1, of_attended, deep_slope)
    offset = torch.addcmul(attended, of_attended, deep).addcmul_(factor, small, value=-1)
    return _in_blocks(x, factor, offset)


def _pyramid(shared: _Shared, half: Tensor) -> Tensor:
    """Return what a block finds in its input, of half the size."""
    quarter = pooled(half)
    eighth = pooled(quarter)
    coarse = shared.attended(quarter, eighth) + spread(shared.attended(eighth, pooled(eighth)))
    return shared.attended(half, quarter) + spread(coarse)


class _Shared:
    """The convolution of the block, channels last."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.weight, self.bias = convolution.weight.contiguous(memory_format=_LAST), convolution.bias

    def attended(self, x: Tensor, small: Tensor) -> Tensor:
        """Return x and, where ``small``, its average, is positive, c(x) + c(c(x)) + c(c(c(x)))."""
        once = self._convolved(x)
        twice = self._convolved(once)
        total = self._convolved(twice).add_(twice).add_(once)
        return _in_blocks(total, F.relu(small), None).add_(x)

    def _convolved(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=1)


def _in_blocks(x: Tensor, factor: Tensor, offset: Tensor | None) -> Tensor:
    """Return x (B, 1 or C, H, W) · ``factor`` + ``offset``, (B, C, H/2, W/2) of which each pixel serves a 2×2 block."""
    batch, channels, height, width = len(x), factor.shape[1], *x.shape[2:]
    rows = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, -1)
    found = x.new_empty((batch, height // 2, 2, width // 2, 2, channels))
    factor = factor.permute(0, 2, 3, 1)[:, :, None, :, None]
    if offset is None:
        torch.mul(rows, factor, out=found)
    else:
        torch.addcmul(offset.permute(0, 2, 3, 1)[:, :, None, :, None], rows, factor, out=found)
    return found.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift (C,), float64, of a BatchNorm in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def decode(decoder: Decoder, features: Tensor) -> Tensor:
    """Do as ``decoder(features)``: (B, C, H, W) → (B, 1, H, W)."""
    kernel, bias = _collapsed(decoder)
    batch, channels, height, width = features.shape
    # Each tap by itself on all pixels, then shifted to its place: one channel of output is too few for a convolution.
    taps = features.permute(0, 2, 3, 1) @ kernel.to(features.dtype).view(channels, 25)
    taps = F.pad(taps, (0, 0, 2, 2, 2, 2))
    image = features.new_full((batch, height, width), float(bias))
    for index in range(25):
        row, column = divmod(index, 5)
        image += taps[:, row : row + height, column : column + width, index]
    return _with_border(decoder, features, image[:, None])


def _collapsed(decoder: Decoder) -> tuple[Tensor, Tensor]:
    """Return weight (C, 5, 5) and bias, float64, of the convolution that the three layers are inside the image."""
    first, second, last = (each.weight.double() for each in (decoder.first, decoder.second, decoder.last))
    biases = [each.bias.double() for each in (decoder.first, decoder.second, decoder.last) if each.bias is not None]
    second = F.conv2d(second.movedim(0, 1), last).movedim(1, 0)
    weight = F.conv_transpose2d(second, first)
    return weight[0], biases[2] + last.flatten() @ biases[1] + second.sum((2, 3))[0] @ biases[0]


def _with_border(decoder: Decoder, features: Tensor, image: Tensor) -> Tensor:
    """Return the image with its outermost rows and columns as the layers one after the other give them."""
    for axis in (2, 3):
        side = features.shape[axis]
        depth = min(side, decoder.reach + 1)
        for start, line in ((0, 0), (side - depth, side - 1)):
            strip = decoder(features.narrow(axis, start, depth))
            image.narrow(axis, line, 1).copy_(strip.narrow(axis, line - start, 1))
    return image
