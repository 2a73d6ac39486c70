"""The weights of SFNN's family by kernels: softmax statistics in one pass, and norms by matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fusekit.extend import Weighing, WeightedRule
from fusekit_ehdran.kernels.form import stacked
from fusekit_ehdran.kernels.sfnn import all_nuclear_norms, greatest_nuclear_norms
from fusekit_ehdran.kernels.shares import share_statistics
from fusekit_ehdran.nuclear import Greatest
from fusekit_ehdran.sfnn import SFNN, SoftmaxNuclearNormRule

#: What the rule's report says of the norms.
HOW = "by matrix products, within 1e-5"


def weighing_of(rule: WeightedRule, features: Sequence[Tensor]) -> Weighing | None:
    """Return the weights of a rule of SFNN's family for features of N sources (B, C, H, W), ``None`` of other rules."""
    shape = (len(features), len(features[0]))
    if isinstance(rule, SFNN) and type(rule).weigh is SFNN.weigh:
        norms, counts = greatest_nuclear_norms(stacked(features), share_statistics)
        decomposed = counts.view(shape).tolist()
        found = [
            [Greatest(norm, count) for norm, count in zip(*each, strict=True)]
            for each in zip(norms.view(shape), decomposed, strict=True)
        ]
        return rule.weighing_of(found, HOW)
    if isinstance(rule, SoftmaxNuclearNormRule) and type(rule).weigh is SoftmaxNuclearNormRule.weigh:
        return rule.weighing_of(all_nuclear_norms(stacked(features)).unflatten(0, shape), HOW)
    return None
