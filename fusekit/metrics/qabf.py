"""``qabf``: edge information that fusion preserves (Xydeas and Petrović, 2000), and its variant ``qabf.kumar``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import derivatives, padded_planes, pixel_sum, ratio_or
from fusekit.metrics.levels import scaled, sum_of_bands
from fusekit.metrics.nabf import edge_balance


def edge_preservation(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q^{AB/F} for all sources, (B,), and for each alone, (N, B).

    Sobel gradients on grey levels of 0-255 with a zero border; Γ_g = 0.9994, κ_g = −15, σ_g = 0.5, Γ_α = 0.9879,
    κ_α = −22, σ_α = 0.8, L = 1.

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
    """
    preserved, total = sum_of_bands(_preserved, padded_planes([*sources, fused], "zero"), halo=2)
    return ratio_or(preserved.sum(0), total.sum(0), 0.0), ratio_or(preserved, total, 0.0)


def _preserved(band: Tensor) -> Tensor:
    """Return Σ quality·strength and Σ strength of padded (N + 1, B, h, w), the fused image last: (2, N, B)."""
    along_x, along_y = derivatives(scaled(band), 2, None)
    strength = (along_x.square() + along_y.square()).sqrt()
    # The angle from the horizontal, anticlockwise; π/2 also where there is no gradient.
    angle = torch.where(along_x == 0, math.pi / 2, torch.atan(-along_y / along_x.where(along_x != 0, 1)))
    weight, fused_strength = strength[:-1], strength[-1:]
    least, most = torch.minimum(weight, fused_strength), torch.maximum(weight, fused_strength)
    # Equal strengths have the ratio 1 in the paper; the implementations behind published values take the strength.
    relative = torch.where(least == most, most.clamp_min(1), ratio_or(least, most, 0.0))
    alike = 1 - (angle[:-1] - angle[-1:]).abs() / (math.pi / 2)
    kept = 0.9994 * 0.9879 * torch.sigmoid(15 * (relative - 0.5)) * torch.sigmoid(22 * (alike - 0.8))
    return torch.stack([pixel_sum(kept * weight), pixel_sum(weight)])


class EdgePreservation(SharedWorkMetric):
    """Q^{AB/F}: how much of the sources' edge strength and orientation the fused image keeps, weighed by strength.

    An image keeps 0.975 of itself, the most that there is. Sources without any edge, that is all black ones, have 0.
    The definition extends to N sources as it is; a source's own value takes it for the only one.
    """

    range = (0.0, 0.9994 * 0.9879)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "With the ratio 1 where edge strengths are equal, instead of the strength: lower by up to 0.06 %. qg has other "
        "constants and the mean of local ratios: differs by up to a factor of 2. qabf.kumar has Sobel/8, a mirrored "
        "border, weights g^1.5 and the root of the product: higher."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return edge_preservation(sources, fused)


class EdgePreservationKumar(SharedWorkMetric):
    """Q^{AB/F} as Shreyamsha Kumar's widespread code computes it: with ``labf`` and ``nabf`` it adds up to 1.

    The preservation saturates at 0.99965, and where neither image has an edge it is 0.0087: constant images have that.
    The definition extends to N sources as it is; a source's own value takes it for the only one.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "qabf has the constants, weights and border of Xydeas and Petrović (2000): lower."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        balance = edge_balance(sources, fused)
        return balance.kept.sum(0) / balance.total.sum(0), balance.kept / balance.total
