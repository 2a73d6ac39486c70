"""``mean``: every source counts the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.rules.base import FusionRule, RuleResult, in_memory_order


class Mean(FusionRule):
    """The element-wise mean of the sources' features."""

    reach = 0
    working = 2.0

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        views, in_place = in_memory_order(features)
        return RuleResult(in_place(torch.stack(views).mean(0)))
