"""``none``: no edge branch."""

from __future__ import annotations

from torch import Tensor

from fusekit.edges.base import EdgeOperator


class NoEdge(EdgeOperator):
    """Adds nothing: zeros in the shape of the input, without memory of their own."""

    reach = 0
    ignores_constants = True

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(()).expand_as(x)
