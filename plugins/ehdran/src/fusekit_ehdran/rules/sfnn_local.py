"""``sfnn-local``: the softmax nuclear norm of local windows, one weight a pixel for the base and one for the detail.

SFNN (Zhou et al., BIBM 2024) weighs a source by nuclear norms of its whole softmax maps: one number an image. Here the
norms are those of 2×2 windows, at three spacings, so that weights follow the image. Features are split into a base that
keeps strong edges and the detail left; the base is a p-norm of the sources, the detail comes from one source a place,
and from both where they are equally active, so that no rounding decides.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.extend import (
    FusionRule,
    RuleError,
    RuleResult,
    Survey,
    normalized,
)
from fusekit_ehdran.rules.local_statistics import (
    CELL,
    REACH,
    SEAM,
    Statistics,
    local_activity,
    novelty,
    parts_of,
    smoothed,
    strengths,
)


class SFNNLocal(FusionRule):
    """Base by a p-norm of brightness, detail from the source with the greatest local softmax nuclear norm.

    F = r + Σᵢ uᵢ·Bᵢ + Σᵢ vᵢ·Dᵢ with r the background, Bᵢ the base of Fᵢ − r and Dᵢ the rest. Equal sources give
    themselves. A source of background only leaves the other as it is. The base is nowhere weaker than any source's,
    though detail of another source can darken what is bright and flat.

    Args:
        power: p of the base's p-norm, 1 or more: 1 adds the sources, great values take the maximum.
        balance: how far a source's activity is measured on its own scale: 0 compares absolute activities, 1 each as a
            multiple of the source's root mean square.
        sharpness: q of the shares aᵢ^q / Σ aⱼ^q by which sources of activities aᵢ give detail, 1 or more. At 32 one
            that is a tenth more active gives 95 %.
    """

    multiple = CELL

    def __init__(self, power: float = 4.0, balance: float = 0.5, sharpness: float = 32.0) -> None:
        self.statistics: Statistics | None = None
        self.power, self.balance, self.sharpness = float(power), float(balance), float(sharpness)
        if not 1 <= self.power < math.inf:
            raise RuleError(f"the rule 'sfnn-local' needs a power of 1 or more, not {power}")
        if not 0 <= self.balance <= 1:
            raise RuleError(f"the rule 'sfnn-local' needs a balance from 0 to 1, not {balance}")
        if not 1 <= self.sharpness < math.inf:
            raise RuleError(f"the rule 'sfnn-local' needs a sharpness of 1 or more, not {sharpness}")

    def with_statistics(self, statistics: Statistics) -> SFNNLocal:
        """Return the rule for parts of an image whose statistics are known."""
        rule = copy.copy(self)
        rule.statistics, rule.reach = statistics, REACH
        return rule

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        from fusekit_ehdran.rules.sfnn_local_survey import LocalSurvey

        return LocalSurvey(self.with_statistics) if len(shape) == 4 else None

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        """Return the fused feature and the weights (N, B, 2, H, W): of the base, then of the detail."""
        if features[0].dim() != 4:
            raise RuleError(
                f"the rule 'sfnn-local' acts on two-dimensional features (B, C, H, W), not on shape "
                f"{tuple(features[0].shape)}"
            )
        exact = [feature.float() for feature in features]
        quiet, bases, details = parts_of(exact, self.statistics)
        weights = torch.cat([self.base_weights(bases, details), self.detail_weights(exact)], 2)
        fused = quiet.expand_as(exact[0]).clone()
        for weight, base, detail in zip(weights, bases, details, strict=True):
            fused.addcmul_(weight[:, :1], base).addcmul_(weight[:, 1:], detail)
        return RuleResult(fused.to(features[0].dtype), weights)

    def detail_weights(self, features: Sequence[Tensor]) -> Tensor:
        """Return nearly 1 for the most active source and 0 for the others, smoothed at the seams: (N, B, 1, H, W)."""
        activity = torch.stack([local_activity(feature) for feature in features])
        known = self.statistics
        scale = activity.square().mean((3, 4), keepdim=True).sqrt() if known is None else known.scale
        activity = activity / scale.where(scale > 0, 1).pow(self.balance)
        greatest = activity.amax(0)
        relative = (activity / greatest.where(greatest > 0, 1)).where(greatest > 0, 1)
        chosen = normalized(relative.pow(self.sharpness))
        return smoothed(chosen.flatten(0, 1), SEAM).view_as(chosen)

    def base_weights(self, bases: Sequence[Tensor], details: Sequence[Tensor]) -> Tensor:
        """Return uᵢ = (bᵢ / ‖b‖_p)^(p−1): (N, B, 1, H, W), so that Σ uᵢ·bᵢ is the p-norm of the strengths bᵢ.

        bᵢ is the norm over channels of Bᵢ; but of sources other than the strongest only what is new in them counts,
        bᵢ·√(1 − ρ²), with ρ the local correlation of the two details. (With columns of length 1 the nuclear norm of
        two windows side by side is √(2 + 2·√(1 − ρ²)): 2 in square where they are the same, 4 where unrelated.)
        """
        strength = strengths(bases)
        leader = strength.argmax(0, keepdim=True)
        new = strength * novelty(details, leader, self.statistics)
        new = new.scatter(0, leader, strength.gather(0, leader))
        relative = new / new.amax(0).clamp_min(torch.finfo(new.dtype).tiny)
        total = relative.pow(self.power).sum(0).clamp_min(1.0)
        return relative.pow(self.power - 1) / total.pow((self.power - 1) / self.power)
