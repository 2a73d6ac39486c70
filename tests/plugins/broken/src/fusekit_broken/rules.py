"""Rules, each broken in one way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fusekit.extend import FusionRule, RuleResult, Survey


class WrongShape(FusionRule):
    """Leaves out a column."""

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0][..., 1:])


class ATuple(FusionRule):
    """Returns a bare tuple."""

    def apply(self, features: Sequence[Tensor]) -> Any:
        return features[0], None


class NoneAtAll(FusionRule):
    """Forgets to return."""

    def apply(self, features: Sequence[Tensor]) -> Any:
        torch.stack(list(features)).mean(0)


class WrongDtype(FusionRule):
    """Returns double precision."""

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0].double())


class Raises(FusionRule):
    """Fails, with a message of two lines."""

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        raise ZeroDivisionError("the sources\nare all zero")


class Exits(FusionRule):
    """Ends the process as if all were well."""

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        sys.exit(0)


class Mutates(FusionRule):
    """Adds up in its first input."""

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0].add_(features[1]))


class NotANumber(FusionRule):
    """Divides zero by zero."""

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        nothing = features[0] - features[0]
        return RuleResult(nothing / nothing)


class WrongSignature(FusionRule):
    """Takes the sources one by one."""

    def apply(self, first: Tensor, second: Tensor) -> RuleResult:  # type: ignore[override]
        return RuleResult((first + second) / 2)


class Reports(FusionRule):
    """Reports a tensor, which no record can hold."""

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0].clone(), report=[{"greatest": each.amax()} for each in features[0]])


class Surveys(FusionRule):
    """Looks at whole images by a survey that fails."""

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey:
        return Fails()


class Fails(Survey):
    """Takes no tile."""

    def add(self, features: Sequence[Tensor], tile: Any) -> None:
        raise LookupError("no tile")
