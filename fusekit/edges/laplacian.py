"""``laplacian``: the second derivative."""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit.edges.base import EdgeOperator, depthwise


class Laplacian(EdgeOperator):
    """|∂²x F + ∂²y F| channel by channel, with the four-neighbour filter, the border repeated."""

    reach = 1
    ignores_constants = True
    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
        self.register_buffer("filter", kernel[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(x, self.filter).abs()
