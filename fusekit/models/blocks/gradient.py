"""Densely connected convolutions beside a gradient path, the block that several published networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.edges.gradient import Sobel


class GradientBlock(nn.Module):
    """Densely connected convolutions beside a gradient path: (B, C, H, W) → (B, C', H, W), any H and W.

    The gradient is |Gx∗x| + |Gy∗x| channel by channel; Gx and Gy start as Sobel filters and are trained. It is called
    gradient residual dense block by Tang et al. (Image fusion in the loop of high-level vision tasks, Information
    Fusion 82, 2022). All convolutions are zero outside; the leaky ReLUs have slopes of 0.2 within and 0.1 at the end.

    Args:
        channels: C.
        out_channels: C'.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.dense = nn.Conv2d(3 * channels, out_channels, 1)
        self.along_x = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.along_y = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.gradient = nn.Conv2d(channels, out_channels, 1)
        sobel = torch.tensor(Sobel.kernel)
        with torch.no_grad():
            self.along_x.weight.copy_(sobel.expand(channels, 1, 3, 3))
            self.along_y.weight.copy_(sobel.T.expand(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        first = F.leaky_relu(self.first(x), 0.2)
        second = F.leaky_relu(self.second(torch.cat([x, first], dim=1)), 0.2)
        dense = self.dense(torch.cat([x, first, second], dim=1))
        return F.leaky_relu(dense + self.gradient(self.along_x(x).abs() + self.along_y(x).abs()), 0.1)
