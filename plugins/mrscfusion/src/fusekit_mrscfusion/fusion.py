"""The fusion network of MRSCFusion: at each scale attention within shifted windows beside convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusekit.extend import GradientBlock, SwinBlock
from fusekit_mrscfusion.autoencoder import Layer

#: Heads of the attention, side of its windows in pixels, shifts of its blocks, and width of its perceptrons.
HEADS, WINDOW, SHIFTS, RATIO = 4, 8, (0, 4, 0), 4


class Branch(nn.Module):
    """What becomes of one source's features (B, C, H, W) before they meet the other's; sides are multiples of 8."""

    def __init__(self, width: int, *, shift_single: bool) -> None:
        super().__init__()
        self.before = nn.Conv2d(width, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(SwinBlock(width, HEADS, WINDOW, shift, RATIO, shift_single=shift_single) for shift in SHIFTS)
        )
        self.behind = nn.Conv2d(width, width, 3, padding=1)
        self.layer = Layer(width, width, 3)
        self.gradients = GradientBlock(width, width)

    def attended(self, x: Tensor) -> Tensor:
        """Return x with what attention makes of it."""
        before = self.before(x)
        tokens = self.blocks(before.permute(0, 2, 3, 1))
        return self.behind(tokens.permute(0, 3, 1, 2)) + before + x

    def convolved(self, x: Tensor) -> Tensor:
        """Return what convolutions and gradients make of x."""
        return self.gradients(self.layer(x))


class FusionBlock(nn.Module):
    """The features of two sources fused at one scale: two (B, C, H, W), sides multiples of 8 → (B, C, H, W).

    Args:
        width: C.
        shift_single: whether windows are moved too on a map that is one window high or wide.
    """

    def __init__(self, width: int, *, shift_single: bool) -> None:
        super().__init__()
        self.mri = Branch(width, shift_single=shift_single)
        self.other = Branch(width, shift_single=shift_single)
        self.merge = nn.Conv2d(2 * width, width, 3, padding=1)
        self.reduce = nn.Sequential(Layer(2 * width, width, 1), Layer(width, width, 3), Layer(width, width, 3))

    def forward(self, mri: Tensor, other: Tensor) -> Tensor:
        attended = torch.cat([self.mri.attended(mri), self.other.attended(other)], dim=1)
        convolved = torch.cat([self.mri.convolved(mri), self.other.convolved(other)], dim=1)
        return self.merge(attended) + self.reduce(convolved)
