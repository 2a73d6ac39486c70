"""The inference form of MSDRA: the same function as the plain modules, composed anew at each call and cheap to run.

- The shallow features w·x + b are linear in the maps [x, 1], the ones map zero outside as x is, and so is what
  convolutions make of them: the 5×5 convolution, and twice the 3×3 one, are 5×5 convolutions of two maps.
- The decoder is one 7×7 convolution C → 1.
- Where two layers are taken as one, the zeros outside show between them in the outermost pixels; there the layers run.
- Maps lie channels last in memory.

Of 364,600 multiply-adds a pixel in the encoder and 55,600 in the decoder this leaves 194,900 and 3,100.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import keep_freed_memory
from fusekit_msdra.network import Decoder, Encoder

_LAST = torch.channels_last


def encode(encoder: Encoder, x: Tensor) -> Tensor:
    """Do as ``encoder(x)`` in evaluation mode: (B, 1, H, W) → (B, C, H, W), channels last."""
    if x.device.type == "cpu":
        keep_freed_memory()
    norm, middle = encoder.norm, encoder.middle
    maps = torch.cat([x, torch.ones_like(x)], 1).contiguous(memory_format=_LAST)
    shallow = encoder.shallow(x).contiguous(memory_format=_LAST)
    wide = _normalized(norm, _convolved(maps, _of_maps(encoder.wide, encoder.shallow), encoder.wide.bias)).relu_()
    hidden = _normalized(norm, _of(middle, wide)).relu_()
    total = wide.add_(hidden)
    total += _normalized(norm, _of(encoder.narrow, hidden)).relu_()
    deep = _normalized(norm, _twice(middle, encoder.shallow, maps).add_(shallow)).relu_()
    for _ in range(2):
        deep = _normalized(norm, _of(middle, _of(middle, deep)).add_(deep)).relu_()
    total += deep
    return _normalized(norm, total.mul_(F.relu(shallow)).add_(shallow))


def _of_maps(convolution: nn.Conv2d, shallow: nn.Conv2d) -> Tensor:
    """Return the weight (C, 2, k, k), float64, by which ``convolution(shallow(x))`` takes the maps [x, 1]."""
    assert shallow.bias is not None
    basis = torch.stack([shallow.weight.flatten(), shallow.bias], 1).double()
    return torch.einsum("ockl,cj->ojkl", convolution.weight.double(), basis)


def _twice(middle: nn.Conv2d, shallow: nn.Conv2d, maps: Tensor) -> Tensor:
    """Return ``middle(middle(shallow(x)))`` of the maps [x, 1] (B, 2, H, W)."""
    assert middle.bias is not None
    once, weight, bias = _of_maps(middle, shallow), middle.weight.double(), middle.bias.double()
    both = F.conv_transpose2d(weight, once)

    def layers(strip: Tensor) -> Tensor:
        return _of(middle, _convolved(strip, once, middle.bias))

    return _with_border(_convolved(maps, both, bias + weight.sum((2, 3)) @ bias), layers, maps, lines=1, reach=2)


def _of(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return _convolved(x, convolution.weight, convolution.bias)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution of x with zeros outside, as large as x, in its dtype."""
    weight = weight.to(x.dtype, memory_format=_LAST)
    return F.conv2d(x, weight, None if bias is None else bias.to(x.dtype), padding=weight.shape[2] // 2)


def _normalized(norm: nn.Module, x: Tensor) -> Tensor:
    """Return ``norm(x)`` in evaluation mode; x, channels last, is overwritten."""
    if isinstance(norm, nn.BatchNorm2d):
        return norm(x)
    assert isinstance(norm, nn.InstanceNorm2d)
    # Sums of rows in the dtype of x, sums of these in float64: torch's normalisation of maps that lie channels last
    # adds up all pixels one after the other, and is off by a thousandth.
    x -= _mean(x).to(x.dtype)
    scale = norm.weight.double()[:, None, None] / torch.sqrt(_mean(x.square()) + norm.eps)
    return torch.addcmul(norm.bias[:, None, None], x, scale.to(x.dtype), out=x)


def _mean(x: Tensor) -> Tensor:
    """Return the mean of each channel of each image, float64: (B, C, H, W), channels last → (B, C, 1, 1)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    # Seen as it lies in memory, which is ten times as fast.
    rows = x.permute(0, 2, 3, 1).sum(2, dtype=wide)
    return rows.double().mean(1)[..., None, None] / x.shape[3]


def decode(decoder: Decoder, features: Tensor) -> Tensor:
    """Do as ``decoder(features)``: (B, C, H, W) → (B, 1, H, W)."""
    kernel, bias = _collapsed(decoder)
    batch, channels, height, width = features.shape
    # Each tap by itself on all pixels, then shifted to its place: one channel of output is too few for a convolution.
    taps = features.permute(0, 2, 3, 1) @ kernel.to(features.dtype).view(channels, 49)
    taps = F.pad(taps, (0, 0, 3, 3, 3, 3))
    image = features.new_full((batch, height, width), float(bias))
    for index in range(49):
        row, column = divmod(index, 7)
        image += taps[:, row : row + height, column : column + width, index]
    return _with_border(image[:, None], decoder, features, lines=2, reach=decoder.reach)


def _collapsed(decoder: Decoder) -> tuple[Tensor, Tensor]:
    """Return weight (C, 7, 7) and bias, float64, of the convolution that the three layers are inside the image."""
    layers = (decoder.first, decoder.second, decoder.last)
    first, second, last = (each.weight.double() for each in layers)
    of_first, of_second, of_last = (each.bias.double() for each in layers if each.bias is not None)
    both = F.conv_transpose2d(last, second)
    bias = of_last + last.sum((2, 3))[0] @ of_second + both.sum((2, 3))[0] @ of_first
    return F.conv_transpose2d(both, first)[0], bias


def _with_border(output: Tensor, layers: Callable[[Tensor], Tensor], given: Tensor, lines: int, reach: int) -> Tensor:
    """Return ``output`` with its outermost rows and columns as layers one after the other give them.

    Args:
        output: (B, C, H, W), changed in place.
        layers: of a part of ``given``.
        given: (B, C', H, W).
        lines: rows and columns at each border.
        reach: pixels that layers see to each side.
    """
    for axis in (2, 3):
        side = given.shape[axis]
        outermost = min(side, lines)
        depth = min(side, outermost + reach)
        for start, line in ((0, 0), (side - depth, side - outermost)):
            strip = layers(given.narrow(axis, start, depth)).narrow(axis, line - start, outermost)
            output.narrow(axis, line, outermost).copy_(strip)
    return output
