"""The inference form of IFCNN: the same function as the plain modules, composed anew at each call and cheap to run.

- No activation stands between the first two convolutions, so that 7×7 and 3×3 are one 9×9 convolution of the grey
  image: 5,184 instead of 46,272 multiply-adds a pixel. Only where the border is repeated between the two, in the
  outermost pixels, they run one after the other.
- BatchNorm is folded into the weights, in float64.
- Padded copies of the features are not made: the convolution behind them sees zeros outside, and the outermost pixels
  are computed once more with the border repeated.
- Features lie channels last in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import keep_freed_memory
from fusekit_ifcnn.network import Decoder, Encoder, Layer

_LAST = torch.channels_last


def encode(encoder: Encoder, x: Tensor) -> Tensor:
    """Do as ``encoder(x)`` in evaluation mode: (B, 1, H, W) → (B, C, H, W), channels last."""
    if x.device.type == "cpu":
        keep_freed_memory()
    first = encoder.first.weight.double().sum(1, keepdim=True)
    second, bias = _folded(encoder.second)
    both = F.conv_transpose2d(second, first)
    padded = F.pad(x, (4, 4, 4, 4), mode="replicate")
    # One axis of the kernel becomes channels, which convolutions of few channels lack.
    spread = padded[:, 0].unfold(2, both.shape[3], 1).contiguous().permute(0, 3, 1, 2)
    kernel = both[:, 0].permute(0, 2, 1)[..., None].to(x.dtype, memory_format=_LAST)
    features = F.relu_(F.conv2d(spread, kernel, bias.to(x.dtype)))
    inside, first = padded[:, :, 1:-1, 1:-1], first.to(x.dtype)

    def near_border(axis: int, start: bool) -> Tensor:
        return F.conv2d(inside.narrow(axis, 0 if start else inside.shape[axis] - 8, 8), first)

    _mend_border(features, near_border, second.to(x.dtype), bias.to(x.dtype))
    return features


def decode(decoder: Decoder, features: Tensor) -> Tensor:
    """Do as ``decoder(features)`` in evaluation mode: (B, C, H, W) → (B, 1, H, W)."""
    weight, bias = (each.to(features.dtype) for each in _folded(decoder.third))
    features = features.contiguous(memory_format=_LAST)
    hidden = F.relu_(F.conv2d(features, weight.contiguous(memory_format=_LAST), bias, padding=1))

    def near_border(axis: int, start: bool) -> Tensor:
        return features.narrow(axis, 0 if start else features.shape[axis] - 2, 2)

    _mend_border(hidden, near_border, weight, bias)
    return decoder.gray(decoder.last(hidden))


def _folded(layer: Layer) -> tuple[Tensor, Tensor]:
    """Return weight and bias, float64, of a layer's convolution and BatchNorm in evaluation mode."""
    norm: nn.BatchNorm2d = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    weight = layer.convolution.weight.double() * scale[:, None, None, None]
    return weight, norm.bias.double() - norm.running_mean.double() * scale


def _mend_border(output: Tensor, near_border: Callable[[int, bool], Tensor], weight: Tensor, bias: Tensor) -> None:
    """Write the outermost rows and columns of relu(weight ∗ input + bias) with the input's border repeated.

    Args:
        output: (B, C, H, W), changed in place.
        near_border: returns the two outermost rows (axis 2) or columns (axis 3) of the input, at their start or end.
        weight: (C, C', 3, 3).
        bias: (C,).
    """
    for axis in (2, 3):
        for start in (True, False):
            # Left, right, top, bottom; inwards the input goes on, and one line of output is asked for.
            pads = [1, 1, 1, 1]
            pads[2 * (3 - axis) + start] = 0
            line = F.conv2d(F.pad(near_border(axis, start), pads, mode="replicate"), weight, bias)
            output.narrow(axis, 0 if start else output.shape[axis] - 1, 1).copy_(F.relu_(line))
