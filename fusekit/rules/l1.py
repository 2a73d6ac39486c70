"""``l1``: one weight a source, its share of the features' L1 norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.rules.base import WeightedRule, normalized


class L1(WeightedRule):
    """Weights wᵢ = ‖Fᵢ‖₁ / Σⱼ ‖Fⱼ‖₁, one scalar a source and image; equal where all features are 0."""

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        axes = tuple(range(1, features[0].dim()))
        norms = torch.stack([feature.float().abs().mean(axes, keepdim=True) for feature in features])
        return normalized(norms)
