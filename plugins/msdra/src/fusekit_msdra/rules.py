"""The rules ``msdra`` and ``msdra-signed``: what MSDRA's feature L1 norm weighs by, without and with signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fusekit.extend import DeviceError, RuleResult, WeightedRule

#: Least |Σⱼ Fⱼ| as a share of Σⱼ |Fⱼ|.
_LEAST = 1e-6


class Magnitude(WeightedRule):
    """A weight an element: wᵢ = |Fᵢ| / Σⱼ |Fⱼ|; where all features are 0 the weights, and so the result, are 0."""

    reach = 0
    working = 3.5

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        views, in_place = _in_memory_order(features)
        magnitudes = torch.stack([view.float() for view in views]).abs()
        total = magnitudes.sum(0, keepdim=True)
        return in_place(magnitudes / total.where(total > 0, 1.0))


class MagnitudeSigned(WeightedRule):
    """A weight an element, as MSDRA's authors program it: wᵢ = |Fᵢ / Σⱼ Fⱼ|.

    Where features of both signs cancel, weights grow without limit, and rounding decides of them. The denominator is
    therefore at least 1e-6 of Σⱼ |Fⱼ|, and 0/0 is 0. Where all signs are equal it is `Magnitude`.

    Raises:
        DeviceError: features of half precision, in which the sums are lost.
    """

    reach = 0
    working = 5.0

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        if any(feature.dtype in (torch.bfloat16, torch.float16) for feature in features):
            raise DeviceError(
                "the rule 'msdra-signed' divides by sums that cancel, which half precision loses; "
                "give --dtype float32, or --rule msdra"
            )
        views, in_place = _in_memory_order(features)
        stacked = torch.stack(views)
        total = stacked.sum(0, keepdim=True).abs()
        magnitudes = stacked.abs()
        total = torch.maximum(total, _LEAST * magnitudes.sum(0, keepdim=True))
        return in_place(magnitudes / total.where(total > 0, 1.0))

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        weights = self.weights(features)
        # Where weights are great, terms cancel: each is rounded by itself, as by the authors' program.
        return RuleResult(sum(weight * feature for weight, feature in zip(weights, features, strict=True)), weights)


def _in_memory_order(features: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[Tensor], Tensor]]:
    """Return views of N tensors (B, C, *S) for arithmetic element by element, and what gives results C back its place.

    Those that lie channels last in memory are seen so: (B, H, W, C). Stacked and reduced as (B, C, H, W) they would be
    copied to another order first, which takes several times as long.
    """
    if all(each.dim() == 4 and each.is_contiguous(memory_format=torch.channels_last) for each in features):
        return [each.permute(0, 2, 3, 1) for each in features], lambda result: result.movedim(-1, -3)
    return list(features), lambda result: result
