"""A rule that prints when its module is imported, when it is made and when it is used."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fusekit.extend import FusionRule, RuleResult

print("the talkative module is imported")


class Talkative(FusionRule):
    """The mean of the sources."""

    def __init__(self) -> None:
        print("the talkative rule is made")

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        print("the talkative rule is used")
        return RuleResult(sum(features, start=features[0] * 0) / len(features))
