"""A fusion rule."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.extend import WeightedRule, normalized


class Magnitude(WeightedRule):
    """Weights each source at each pixel by Σ|F|ᵖ over the channels, of all sources' sum.

    Args:
        power: p > 0; the greater, the more the strongest source prevails.
    """

    reach = 0

    def __init__(self, power: float = 1.0) -> None:
        if not power > 0:
            raise ValueError(f"power must be greater than 0, and is {power}")
        self.power = power

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        activity = [each.float().abs().pow(self.power).sum(1, keepdim=True) for each in features]
        return normalized(torch.stack(activity))
