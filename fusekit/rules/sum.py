"""``sum``: DenseFuse's addition strategy (Li and Wu, IEEE Transactions on Image Processing 28(5), 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.rules.base import FusionRule, RuleResult, in_memory_order


class Sum(FusionRule):
    """The sum of the sources' features; brighter than either source wherever both have signal."""

    reach = 0
    working = 2.0

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        views, in_place = in_memory_order(features)
        return RuleResult(in_place(torch.stack(views).sum(0)))
