"""An edge operator, an encoder that takes any, and a decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit.extend import Decoder, Encoder, GradientOperator, build_part


class CentralDifference(GradientOperator):
    """|∂x F| + |∂y F| by central differences: (B, C, H, W) → the same shape."""

    kernel = ((0.0, 0.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 0.0, 0.0))


class WithEdges(Encoder):
    """The image and its edges: (B, 1, H, W) → (B, 2, H, W).

    Args:
        edge: name of a registered edge operator.
    """

    def __init__(self, edge: str = "central") -> None:
        super().__init__()
        self.channels = 2
        self.edge = build_part("edge operator", edge, {"channels": 1})
        self.reach = self.edge.reach

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.edge(x)], dim=1)


class Grey(Decoder):
    """The first channel of the features: (B, C, H, W) → (B, 1, H, W).

    Args:
        channels: C.
    """

    reach = 0

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :1]
