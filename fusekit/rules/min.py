"""``min``: the element-wise minimum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from fusekit.rules.base import FusionRule, RuleResult


class Min(FusionRule):
    """The element-wise minimum of the sources' features."""

    reach = 0
    working = 0.75

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(reduce(torch.minimum, features))
