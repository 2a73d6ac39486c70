"""``weighted``: weights that the user gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.errors import RuleError
from fusekit.rules.base import WeightedRule


class Weighted(WeightedRule):
    """Given weights, one a source, used as they are.

    Args:
        weights: one number a source, or ``None`` for equal weights 1/N. They need not sum to 1.
    """

    reach = 0
    working = 2.0

    def __init__(self, weights: Sequence[float] | float | str | None = None) -> None:
        if weights is None:
            self.given: list[float] | None = None
            return
        listed = [weights] if isinstance(weights, (int, float, str)) else list(weights)
        try:
            self.given = [float(each) for each in listed]
        except (TypeError, ValueError):
            raise RuleError(f"the rule 'weighted' needs numbers, not {weights!r}: weights=0.7,0.3") from None
        if not all(math.isfinite(each) for each in self.given):
            raise RuleError(f"the rule 'weighted' needs finite weights, not {self.given}")

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        given = self.given if self.given is not None else [1 / len(features)] * len(features)
        if len(given) != len(features):
            raise RuleError(f"the rule 'weighted' was given {len(given)} weights for {len(features)} sources")
        shape = (len(features), features[0].shape[0], *[1] * (features[0].dim() - 1))
        values = torch.tensor(given, dtype=torch.float32, device=features[0].device)
        return values.view(-1, *[1] * features[0].dim()).expand(shape)
