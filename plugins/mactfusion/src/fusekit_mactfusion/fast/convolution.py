"""Convolutions of the inference form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: What oneDNN computes in.
_ONEDNN = (torch.float32, torch.bfloat16)


class Convolution:
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
    def of(cls, module: nn.Module) -> Convolution:
        """Return the convolution of a plain module."""
        assert isinstance(module, nn.Conv2d)
        return cls(module.weight, module.bias, module.groups, mirrored=module.padding_mode == "reflect")

    def __call__(self, x: Tensor) -> Tensor:
        pad = self.weight.shape[-1] // 2
        if pad and self.mirrored:
            x, pad = F.pad(x, (pad,) * 4, mode="reflect"), 0
        x = x.contiguous(memory_format=torch.channels_last)
        if x.device.type == "cpu" and x.dtype in _ONEDNN and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            # With one thread `F.conv2d` takes another, several times slower way for few channels.
            sides, ones = (pad, pad), (1, 1)
            found: Tensor = torch.mkldnn_convolution(x, self.weight, self.bias, sides, ones, ones, self.groups)
        else:
            found = F.conv2d(x, self.weight, self.bias, padding=pad, groups=self.groups)
        # Of one channel memory lies both ways, and what comes of it may be channels first.
        return found.contiguous(memory_format=torch.channels_last)
