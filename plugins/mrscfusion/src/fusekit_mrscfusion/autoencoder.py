"""The autoencoder of MRSCFusion: four scales of features, and a nested decoder (Li et al.: NestFuse, TIM 2020)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Channels of the published network's features, fine to coarse, and of the map before the first of them.
WIDTHS, FIRST = (64, 112, 160, 208), 16
#: The nodes of the decoder in the order in which they are computed: scale, and place along it.
NODES = ((1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (1, 3))


class Layer(nn.Conv2d):
    """A convolution with a mirrored border, and ReLU; drawn so that many of them keep the scale of what goes in."""

    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__(before, after, side, padding=side // 2, padding_mode="reflect" if side > 1 else "zeros")
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Block(nn.Sequential):
    """A 3×3 layer to half of the channels, and a 1×1 one to those that are wanted."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(Layer(before, before // 2, 3), Layer(before // 2, after, 1))


class Encoder(nn.Module):
    """Features of an image: (B, 1, H, W) in [0, 255] → four maps (B, widths[s], H / 2ˢ, W / 2ˢ), rounded down."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.lift = Layer(1, FIRST, 1)
        self.blocks = nn.ModuleList(Block(*pair) for pair in itertools.pairwise((FIRST, *widths)))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.lift(x)
        found: list[Tensor] = []
        for block in self.blocks:
            found.append(block(F.max_pool2d(found[-1], 2) if found else x))
        return found


class Decoder(nn.Module):
    """An image of features: four maps, as `Encoder` gives them → (B, 1, H, W), 0 or more.

    The node at place p of scale s is made of the features of s, the p − 1 nodes before it, and the node at p − 1 of the
    scale below, twice as large; at place 0 stand the features.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.nodes = nn.ModuleDict(
            {
                f"{scale}{place}": Block(place * widths[scale - 1] + widths[scale], widths[scale - 1])
                for scale, place in NODES
            }
        )
        self.last = Layer(widths[0], 1, 1)
        # A ReLU that lets nothing through at the start would never be trained.
        with torch.no_grad():
            self.last.weight.abs_()

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        rows = [[each] for each in features]
        for scale, place in NODES:
            row, below = rows[scale - 1], rows[scale][place - 1]
            row.append(self.nodes[f"{scale}{place}"](torch.cat([*row, doubled(below, row[0])], dim=1)))
        return self.last(rows[0][-1])


def doubled(x: Tensor, like: Tensor) -> Tensor:
    """Return x (B, C, H, W) twice as large by repeating pixels, mirrored on at the far ends to the size of ``like``."""
    x = F.interpolate(x, scale_factor=2, mode="nearest")
    missing = (like.shape[3] - x.shape[3], like.shape[2] - x.shape[2])
    return F.pad(x, (0, missing[0], 0, missing[1]), mode="reflect") if any(missing) else x
