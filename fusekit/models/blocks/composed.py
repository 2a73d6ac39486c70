"""What inference forms are made of: composed blocks, channels last, and what tells whether weights have changed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.machine.allocator import keep_freed_memory
from fusekit.models.blocks.convolution import convolve
from fusekit.models.blocks.gradient import GradientBlock

#: Address, version, dtype and device of a tensor.
_Stamp = tuple[int, int, torch.dtype, torch.device]


class Composition:
    """What an inference form was composed of: derive the form from it, and ask `is_of` before each use.

    Args:
        network: whose parameters and buffers the form is made of.
    """

    def __init__(self, network: nn.Module) -> None:
        self._made_of = _stamps(network)
        # While an alias lives, no other tensor comes to lie at the same address.
        self._kept = [each.clone() if each.is_inference() else each.detach() for each in _tensors(network)]
        if self._kept[0].device.type == "cpu":
            keep_freed_memory()

    def is_of(self, network: nn.Module) -> bool:
        """Return whether the form was composed of these weights as they are now."""
        if self._made_of != _stamps(network):
            return False
        pairs = zip(_tensors(network), self._kept, strict=True)
        return all(torch.equal(each, kept) for each, kept in pairs if each.is_inference())


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _stamps(module: nn.Module) -> list[_Stamp]:
    """Return what changes when a module's tensors change; those made in inference mode count no versions."""
    return [
        (each.data_ptr(), -1 if each.is_inference() else each._version, each.dtype, each.device)
        for each in _tensors(module)
    ]


class ComposedConvolution:
    """A convolution that keeps the size, channels last: (B, C, H, W) → (B, C', H, W).

    Args:
        weight: (C', C / groups, k, k).
        bias: (C',), or none.
        groups: of channels.
        mirrored: whether the border is mirrored, else zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, groups: int = 1, *, mirrored: bool = False) -> None:
        self.weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().clone()
        self.groups, self.mirrored = groups, mirrored

    @classmethod
    def of(cls, module: nn.Module) -> ComposedConvolution:
        """Return the convolution of a plain module."""
        assert isinstance(module, nn.Conv2d)
        return cls(module.weight, module.bias, module.groups, mirrored=module.padding_mode == "reflect")

    def __call__(self, x: Tensor) -> Tensor:
        pad = self.weight.shape[-1] // 2
        if pad and self.mirrored:
            x, pad = F.pad(x, (pad,) * 4, mode="reflect"), 0
        x = x.contiguous(memory_format=torch.channels_last)
        found = convolve(x, self.weight, self.bias, groups=self.groups, padding=pad)
        # Of one channel memory lies both ways, and what comes of it may be channels first.
        return found.contiguous(memory_format=torch.channels_last)


class ComposedGradient:
    """A `GradientBlock` composed: its 1×1 convolutions become one, and its gradient filters one depthwise convolution.

    Args:
        block: that it is composed of.
    """

    def __init__(self, block: GradientBlock) -> None:
        self.first, self.second = ComposedConvolution.of(block.first), ComposedConvolution.of(block.second)
        # Of each channel both gradients, one after the other.
        along = torch.stack([block.along_x.weight, block.along_y.weight], dim=1).flatten(0, 1)
        self.along = ComposedConvolution(along, None, block.along_x.groups)
        project = torch.cat([block.dense.weight, block.gradient.weight.repeat_interleave(2, dim=1)], dim=1)
        assert block.dense.bias is not None
        assert block.gradient.bias is not None
        self.project = ComposedConvolution(project, block.dense.bias + block.gradient.bias)

    def __call__(self, x: Tensor) -> Tensor:
        both = torch.cat([x, F.leaky_relu_(self.first(x), 0.2)], dim=1)
        second = F.leaky_relu_(self.second(both), 0.2)
        return F.leaky_relu_(self.project(torch.cat([both, second, self.along(x).abs_()], dim=1)), 0.1)
