"""The modules of MSDRA: encoder and decoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import OptionError

#: Channels of the features, as published.
CHANNELS = 64


class Encoder(nn.Module):
    """A 1×1 convolution and one block of two branches: (B, 1, H, W) in [0, 1] → (B, C, H, W), for any H and W.

    Three convolutions and one normalisation serve all places of the block.

    Args:
        statistics: what the normalisation goes by. ``image``: mean and variance of the image at hand, in training too.
            ``running``: those of the batch in training, and their running means, of all places mixed, in evaluation.
    """

    def __init__(self, statistics: str, channels: int = CHANNELS) -> None:
        super().__init__()
        if statistics not in ("image", "running"):
            raise OptionError(f"unknown statistics {statistics!r}; choose image or running")
        of_image = statistics == "image"
        self.shallow = nn.Conv2d(1, channels, 1)
        self.wide = nn.Conv2d(channels, channels, 5, padding=2)
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.narrow = nn.Conv2d(channels, channels, 1)
        self.norm = nn.InstanceNorm2d(channels, affine=True) if of_image else nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.shallow(x)
        wide = F.relu(self.norm(self.wide(shallow)))
        middle = F.relu(self.norm(self.middle(wide)))
        narrow = F.relu(self.norm(self.narrow(middle)))
        deep = shallow
        for _ in range(3):
            deep = F.relu(self.norm(self.middle(self.middle(deep)) + deep))
        return self.norm(F.relu(shallow) * (wide + middle + narrow + deep) + shallow)


class Decoder(nn.Module):
    """Three 3×3 convolutions C → C → 32 → 1 without activations: (B, C, H, W) → (B, 1, H, W)."""

    #: Pixels of features around an output pixel that it depends on.
    reach = 3

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.last(self.second(self.first(features)))
