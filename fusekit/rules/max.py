"""``max``: the element-wise maximum, as in IFCNN (Zhang et al., Information Fusion 54, 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from fusekit.rules.base import FusionRule, RuleResult


class Max(FusionRule):
    """The element-wise maximum of the sources' features."""

    reach = 0
    working = 0.75

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(reduce(torch.maximum, features))
