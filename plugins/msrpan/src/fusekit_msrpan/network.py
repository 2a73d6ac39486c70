"""The modules of MSRPAN: encoder, its block, and decoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

#: Channels of the features, as published.
CHANNELS = 64


def pooled(x: Tensor) -> Tensor:
    """Average (B, C, H, W) over blocks of 2×2."""
    return F.avg_pool2d(x, 2)


def spread(x: Tensor) -> Tensor:
    """Repeat each pixel of (B, C, H, W) in a block of 2×2."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def gate(x: Tensor) -> Tensor:
    """Return what attention weighs by: x averaged over blocks of 2×2, its negative parts cut; as large as x."""
    return spread(F.relu(pooled(x)))


class PyramidAttention(nn.Module):
    """The block: residual attention at a half, a quarter and an eighth of the size, and BatchNorm.

    (B, C, H, W) → (B, C, H, W); H and W are multiples of 16. One convolution serves all three scales.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        half = pooled(x)
        quarter = pooled(half)
        coarse = self._attended(quarter) + spread(self._attended(pooled(quarter)))
        pyramid = self._attended(half) + spread(coarse)
        return self.norm(gate(x) * spread(pyramid) + x)

    def _attended(self, x: Tensor) -> Tensor:
        """Return x and, where it is positive, c(x) + c(c(x)) + c(c(c(x))) with the shared convolution c."""
        once = self.shared(x)
        twice = self.shared(once)
        return gate(x) * (once + twice + self.shared(twice)) + x


class Encoder(nn.Module):
    """A 1×1 convolution, three times the same block, two gates: (B, 1, H, W) in [0, 1] → (B, C, H, W)."""

    #: Passes through the block.
    passes = 3
    #: Pixels around a feature that it depends on: in each pass three 3×3 convolutions at an eighth of the size.
    reach = passes * 3 * 8
    #: The blocks of the coarsest gate.
    multiple = 16

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.shallow = nn.Conv2d(1, channels, 1)
        self.block = PyramidAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        shallow = deep = self.shallow(x)
        for _ in range(self.passes):
            deep = self.block(deep)
        attended = gate(x) * shallow + x
        return gate(attended) * deep + attended


class Decoder(nn.Module):
    """3×3, 3×3 and 1×1 convolutions without activations: (B, C, H, W) → (B, 1, H, W)."""

    #: Pixels of features around an output pixel that it depends on.
    reach = 2

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.last(self.second(self.first(features)))
