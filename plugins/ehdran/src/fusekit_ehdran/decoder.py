"""The decoder of EH-DRAN and DILRAN."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import Decoder as BaseDecoder


class Decoder(BaseDecoder):
    """Three 3×3 convolutions C → C → 32 → 1 with leaky ReLU between: (B, C, H, W) → (B, 1, H, W).

    Args:
        channels: C.
        negative_slope: of the leaky ReLU; EH-DRAN's 0.2. With 1 there is no activation, which is DILRAN's decoder.
    """

    reach = 3

    def __init__(self, channels: int = 64, negative_slope: float = 0.2) -> None:
        super().__init__()
        widths = (channels, channels, 32, 1)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.negative_slope = negative_slope

    def forward(self, features: Tensor) -> Tensor:
        first, second, last = self.convolutions
        hidden = F.leaky_relu(first(features), self.negative_slope)
        hidden = F.leaky_relu(second(hidden), self.negative_slope)
        return last(hidden)


class LinearDecoder(Decoder):
    """DILRAN's decoder: the same convolutions without activations.

    Args:
        channels: C.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__(channels, negative_slope=1.0)
