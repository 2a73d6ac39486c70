"""``sum``: DenseFuse's addition strategy (Li and Wu, IEEE Transactions on Image Processing 28(5), 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.rules.base import FusionRule, RuleResult


class Sum(FusionRule):
    """The sum of the sources' features; brighter than either source wherever both have signal."""

    reach = 0
    working = 2.0

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(torch.stack(list(features)).sum(0))
