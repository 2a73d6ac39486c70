"""What GeSeNet computes of both sources together: the global refinement and the decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit_gesenet.branch import CHANNELS


class Refinement(nn.Module):
    """Modulate the features of both sources by the MRI's edges: (B, 64, H, W), (B, 32, H, W) → (B, 64, H, W).

    The scale is concatenated to the features and convolved with them, the shift is added.
    """

    def __init__(self) -> None:
        super().__init__()
        both = 2 * CHANNELS
        self.scale = nn.ModuleList(
            [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, both, 3, padding=1)]
        )
        self.shift = nn.ModuleList([nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Conv2d(CHANNELS, both, 1)])
        self.mix = nn.Conv2d(2 * both, both, 3, padding=1)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        scale, shift = (last(F.leaky_relu(first(edges), 0.1)) for first, last in (self.scale, self.shift))
        return F.leaky_relu(self.mix(torch.cat([features, scale], dim=1)), 0.01) + shift


class Decoder(nn.Module):
    """From features and the first source's edges to the image: (B, 96, H, W) → (B, 1, H, W) in (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3 * CHANNELS, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.leaky_relu(self.first(x), 0.2)).tanh() / 2 + 0.5
