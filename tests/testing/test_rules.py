"""The checks of rules: good ones pass, and each broken one is caught by a finding that names it."""

from __future__ import annotations

import pytest
from helpers.broken import rules
from helpers.contracts import assert_said, registered

from fusekit.testing import (
    check_rule,
)


@pytest.mark.parametrize("rule", [rules.GoodRule, rules.GoodWeights])
def test_good_rules_have_no_findings(rule: type) -> None:
    with registered("fusion_rules", rule) as name:
        assert check_rule(name) == []


@pytest.mark.parametrize(
    ("rule", "fact"),
    [
        (rules.RuleInPlace, "changes its inputs"),
        (rules.RuleOfOtherShape, "returned fused features of shape"),
        (rules.RuleOfTensor, "returned a tensor"),
        (rules.RuleOfNothing, "not finite for features of zeros"),
        (rules.RuleAcrossBatch, "gives other values for a batch of two"),
        (rules.RuleOfSingles, "returned fused features of float32; bfloat16 is wanted"),
        (rules.RuleOfMoreReach, "declares a reach of 0 pixels, and one pixel changes the result 1 away"),
        (rules.RuleOfWrongSurvey, "gives other values in tiles than as a whole"),
        (rules.RuleOfFarSurvey, "has a survey that reaches 0 pixels and gives a rule that reaches 5"),
        (rules.RuleOfOtherWeights, "weighs otherwise by weigh(features) than by apply(features)"),
        (rules.RuleOfWeightsAside, "is not what it returns"),
        (rules.RuleWithMemory, "gives other results when two threads use it at once"),
        (rules.RuleOfReports, "has a report that JSON cannot hold"),
        (rules.RuleOfTwo, "fails for 3 sources with features of 24×20 pixels: ValueError"),
    ],
)
def test_broken_rules_are_caught(rule: type, fact: str) -> None:
    with registered("fusion_rules", rule) as name:
        assert_said(check_rule(name), f"the fusion rule '{name}' of a-test", fact)


def test_a_rule_of_two_sources_is_checked_with_two() -> None:
    with registered("fusion_rules", rules.RuleOfTwo) as name:
        assert check_rule(name, counts=(2,)) == []
