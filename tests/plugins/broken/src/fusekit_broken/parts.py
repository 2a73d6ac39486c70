"""Parts of models, each broken in one way."""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit.extend import EdgeOperator, Encoder, build_part


class WrongChannels(Encoder):
    """Says that its features have three channels, and makes two."""

    def __init__(self, edge: str = "none") -> None:
        super().__init__()
        self.channels = 3
        self.edge = build_part("edge operator", edge, {"channels": 1})

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.edge(x)], dim=1)


class WrongShape(EdgeOperator):
    """Leaves out the column that has no neighbour."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1:] - x[..., :-1]
