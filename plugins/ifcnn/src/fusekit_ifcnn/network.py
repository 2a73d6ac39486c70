"""The modules of IFCNN: encoder and decoder, with the authors' colour channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Channels of the features, as published.
CHANNELS = 64
#: What red, green and blue count in the luminance (BT.601, full range).
LUMINANCE = (0.299, 0.587, 0.114)


class Layer(nn.Module):
    """3×3 convolution of the border repeated, BatchNorm, ReLU: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate", bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x)))


class Encoder(nn.Module):
    """A 7×7 convolution without activation and a `Layer`: (B, 1, H, W) in [0, 1] → (B, C, H, W).

    The first convolution is that of a network for colour images; a grey one is shown to it three times.
    """

    #: Pixels around a feature that it depends on.
    reach = 4

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 7, padding=3, padding_mode="replicate", bias=False)
        self.second = Layer(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.expand(-1, 3, -1, -1)))


class Decoder(nn.Module):
    """A `Layer` and a 1×1 convolution to red, green and blue: (B, C, H, W) → (B, 1, H, W) in [0, 1]."""

    #: Pixels of features around an output pixel that it depends on.
    reach = 1

    luminance: Tensor

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.third = Layer(channels)
        self.last = nn.Conv2d(channels, 3, 1)
        self.register_buffer("luminance", torch.tensor(LUMINANCE).view(1, 3, 1, 1), persistent=False)

    def colors(self, features: Tensor) -> Tensor:
        """Return red, green and blue (B, 3, H, W) as the network gives them, neither equal nor within [0, 1]."""
        return self.last(self.third(features))

    def gray(self, colors: Tensor) -> Tensor:
        """Return the luminance (B, 1, H, W) of colours (B, 3, H, W), each cut to [0, 1] as by the authors' program."""
        return (colors.clamp(0, 1) * self.luminance).sum(1, keepdim=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.gray(self.colors(features))
