"""The network of MACTFusion: a branch for each source, and the decoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import GradientBlock
from fusekit_mactfusion.features import LargeKernel
from fusekit_mactfusion.transformer import CrossBlock, SelfBlock

#: Channels of a source's features, from the first to the last.
CHANNELS = (16, 32, 48)


class Branch(nn.Module):
    """Features of one source, (B, 1, H, W) → (B, 48, H, W), and the block by which it asks the other.

    Args:
        per_image: whether BatchNorms take the statistics of each image alone.
    """

    def __init__(self, *, per_image: bool) -> None:
        super().__init__()
        first, second, last = CHANNELS
        self.large = LargeKernel()
        self.gradients = nn.Sequential(GradientBlock(first, second), GradientBlock(second, last))
        self.attention = SelfBlock(last, per_image=per_image)
        self.cross = CrossBlock(last, per_image=per_image)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.gradients(self.large(x)))


class Decoder(nn.Module):
    """Three convolutions, the border mirrored, leaky ReLU behind each: (B, 96, H, W) → (B, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        last = CHANNELS[-1]
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(2 * last, last, 1),
                nn.Conv2d(last, 32, 3, padding=1, padding_mode="reflect"),
                nn.Conv2d(32, 1, 3, padding=1, padding_mode="reflect"),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
        return x
