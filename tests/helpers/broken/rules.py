"""Rules that each break their contract in one way, and the good ones that they derive from."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import (
    FixedWeights,
    FusionRule,
    RuleResult,
    Survey,
    Weighing,
    WeightedRule,
    normalized,
)


class GoodRule(FusionRule):
    reach = 0

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(torch.stack(list(features)).mean(0))


class GoodWeights(WeightedRule):
    """A weight a source: its greatest feature; tiled by a survey."""

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        return normalized(torch.stack([each.abs().amax((1, 2, 3), keepdim=True) for each in features]))

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return Greatest()


class Greatest(Survey):
    found: Tensor | None = None

    def add(self, features: Sequence[Tensor], tile: Any) -> None:
        here = torch.stack([tile.inner(each).abs().amax((1, 2, 3), keepdim=True) for each in features])
        self.found = here if self.found is None else torch.maximum(self.found, here)

    def rule(self) -> FusionRule:
        assert self.found is not None
        return FixedWeights(normalized(self.found))


class RuleInPlace(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0].add_(features[1]))


class RuleOfOtherShape(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0][..., 1:])


class RuleOfTensor(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> Any:
        return features[0]


class RuleOfNothing(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(sum(each.square() for each in features) / sum(each.abs() for each in features))


class RuleAcrossBatch(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0] - features[0].mean())


class RuleOfSingles(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(torch.stack(list(features)).float().mean(0))


class RuleOfMoreReach(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(F.avg_pool2d(features[0], 3, 1, 1))


class RuleOfWrongSurvey(GoodWeights):
    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return Last()


class Last(Greatest):
    def add(self, features: Sequence[Tensor], tile: Any) -> None:
        self.found = None
        super().add(features, tile)


class RuleOfFarSurvey(GoodWeights):
    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return Far()


class Far(Greatest):
    def rule(self) -> FusionRule:
        rule = super().rule()
        rule.reach = 5
        return rule


class RuleOfOtherWeights(GoodWeights):
    def weigh(self, features: Sequence[Tensor]) -> Weighing:
        return Weighing(self.weights(features) * 2)

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        weights = self.weights(features)
        return RuleResult(sum(w * f for w, f in zip(weights, features, strict=True)), weights)


class RuleOfWeightsAside(GoodWeights):
    only_weighs = True

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0], self.weights(features))


RuleOfWeightsAside.only_weighs = True


class RuleWithMemory(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        self.last = features
        # It takes long where others may come in between.
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.02)
        return RuleResult(torch.stack(list(self.last)).mean(0))


class RuleOfReports(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0], None, [{"tensor": features[0]}] * len(features[0]))


class RuleOfTwo(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        first, second = features
        return RuleResult(first + second)
