"""The inference form of MSDRA: the same function as the plain modules, composed anew at each call and cheap to run.

- The shallow features w·x + b are linear in the maps [x, 1], and so is what a convolution makes of them: the first
  5×5 and the first 3×3 convolution read two maps instead of 64, 3,200 and 1,152 instead of 102,400 and 36,864
  multiply-adds a pixel. The ones end where the image ends, so that the zeros outside are those of the plain modules.
- The decoder is one 7×7 convolution C → 1 but for the two outermost pixels, where the zeros outside show between its
  layers; there the layers run.
- Maps lie channels last in memory.
"""

from __future__ import annotations

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
    wide = _normalized(norm, _of_maps(encoder.wide, encoder.shallow, maps)).relu_()
    hidden = _normalized(norm, _convolved(middle, wide)).relu_()
    total = wide.add_(hidden)
    total += _normalized(norm, _convolved(encoder.narrow, hidden)).relu_()
    deep, once = shallow, _of_maps(middle, encoder.shallow, maps)
    for last in (False, False, True):
        deep = _normalized(norm, _convolved(middle, once).add_(deep)).relu_()
        once = deep if last else _convolved(middle, deep)
    total += deep
    return _normalized(norm, total.mul_(F.relu(shallow)).add_(shallow))


def _of_maps(convolution: nn.Conv2d, shallow: nn.Conv2d, maps: Tensor) -> Tensor:
    """Return ``convolution(shallow(x))`` of the maps [x, 1] (B, 2, H, W)."""
    assert shallow.bias is not None
    basis = torch.stack([shallow.weight.flatten(), shallow.bias], 1).double()
    weight = torch.einsum("ockl,cj->ojkl", convolution.weight.double(), basis).to(maps.dtype)
    weight = weight.contiguous(memory_format=_LAST)
    return F.conv2d(maps, weight, convolution.bias, padding=convolution.kernel_size[0] // 2)


def _convolved(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    weight = convolution.weight.contiguous(memory_format=_LAST)
    return F.conv2d(x, weight, convolution.bias, padding=convolution.kernel_size[0] // 2)


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
    """Return the mean of each channel of each image, float64: (B, C, H, W) → (B, C, 1, 1)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.sum(3, dtype=wide).double().mean(2)[..., None, None] / x.shape[3]


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
    return _with_border(decoder, features, image[:, None])


def _collapsed(decoder: Decoder) -> tuple[Tensor, Tensor]:
    """Return weight (C, 7, 7) and bias, float64, of the convolution that the three layers are inside the image."""
    layers = (decoder.first, decoder.second, decoder.last)
    first, second, last = (each.weight.double() for each in layers)
    of_first, of_second, of_last = (each.bias.double() for each in layers if each.bias is not None)
    both = F.conv_transpose2d(last, second)
    bias = of_last + last.sum((2, 3))[0] @ of_second + both.sum((2, 3))[0] @ of_first
    return F.conv_transpose2d(both, first)[0], bias


def _with_border(decoder: Decoder, features: Tensor, image: Tensor) -> Tensor:
    """Return the image with the two outermost rows and columns as the layers one after the other give them."""
    for axis in (2, 3):
        side = features.shape[axis]
        lines = min(side, 2)
        depth = min(side, lines + decoder.reach)
        for start, line in ((0, 0), (side - depth, side - lines)):
            strip = decoder(features.narrow(axis, start, depth))
            image.narrow(axis, line, lines).copy_(strip.narrow(axis, line - start, lines))
    return image
