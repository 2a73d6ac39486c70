"""The edge operator ``drgo``: dense residual gradient operator, the edge enhancer of EH-DRAN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import EdgeOperator

_SOBEL_X = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


class DensePath(nn.Module):
    """Two densely connected 3×3 convolutions and a 1×1 projection: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.project = nn.Conv2d(2 * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, r: Tensor) -> Tensor:
        first = F.leaky_relu(self.first(r), 0.2)
        second = F.leaky_relu(self.second(torch.cat([r, first], dim=1)), 0.2)
        return self.project(self.dropout(second))


class GradientPath(nn.Module):
    """|Gx∗r| + |Gy∗r| channel by channel and a 1×1 projection; Gx and Gy start as Sobel filters and are trained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.along_x = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.along_y = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1)
        sobel = torch.tensor(_SOBEL_X)
        with torch.no_grad():
            self.along_x.weight.copy_(sobel.expand(channels, 1, 3, 3))
            self.along_y.weight.copy_(sobel.T.expand(channels, 1, 3, 3))

    def forward(self, r: Tensor) -> Tensor:
        return self.project(self.along_x(r).abs() + self.along_y(r).abs())


class DenseResidualGradient(EdgeOperator):
    """Dense path plus gradient path: (B, C, H, W) → (B, C, H, W).

    Args:
        channels: C.
        dropout: probability in training; the authors' 0.2.

    Source: Zhou et al., BIBM 2024, Section II-B.
    """

    reach = 2

    def __init__(self, channels: int, dropout: float = 0.2) -> None:
        super().__init__(channels)
        self.dense = DensePath(channels, dropout)
        self.gradient = GradientPath(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, r: Tensor) -> Tensor:
        return self.dropout(self.dense(r) + self.gradient(r))
