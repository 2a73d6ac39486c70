"""``energy``: the feature energy ratio of MSRPAN (Fu et al., 2021): Σ Fᵢ³ / Σ Fⱼ² element by element."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.rules.base import WeightedRule, in_memory_order


class Energy(WeightedRule):
    """A weight an element: wᵢ = Fᵢ² / Σⱼ Fⱼ²; where all features are 0 the weights, and so the result, are 0."""

    reach = 0
    working = 4.5

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        views, in_place = in_memory_order(features)
        stacked = torch.stack([view.float() for view in views])
        peak = stacked.abs().amax(0, keepdim=True)
        # Dividing by the peak first keeps the squares of very small and very large features in range.
        squares = (stacked / peak.where(peak > 0, 1.0)).square()
        return in_place(squares / squares.sum(0, keepdim=True).clamp_min(1.0))
