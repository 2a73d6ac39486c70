"""``qg``: edge preservation as a mean of local ratios, with the constants of Liu et al. (2012)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import derivatives, pixel_mean, planes_of

#: What stands for a gradient of 0, grey levels.
_TINY = 1e-5


def local_edge_preservation(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q_G for all sources, (B,), and for each alone, (N, B).

    Sobel gradients on grey levels of 0-255 with a zero border; Γ = 1, κ_g = −10, σ_g = 0.5, κ_α = −20, σ_α = 0.75.

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
    """
    along_x, along_y = derivatives(planes_of([*sources, fused]), 2, "zero")
    strength = (along_x.square() + along_y.square()).sqrt()
    angle = torch.atan(along_y / along_x.where(along_x != 0, _TINY))
    floored = strength.where(strength != 0, _TINY)
    weight, of_fused = floored[:-1], floored[-1:]
    relative = torch.minimum(weight, of_fused) / torch.maximum(weight, of_fused)
    alike = ((angle[:-1] - angle[-1:]).abs() - math.pi / 2).abs() * (2 / math.pi)
    kept = torch.sigmoid(10 * (relative - 0.5)) * torch.sigmoid(20 * (alike - 0.75))
    return pixel_mean((kept * weight).sum(0) / weight.sum(0)), pixel_mean(kept)


class LocalEdgePreservation(SharedWorkMetric):
    """Q_G: how much of the sources' edge strength and orientation the fused image keeps, the mean over all pixels.

    Each pixel counts alike, whatever its edges; in it the sources are weighed by their edge strength, alike where none
    has an edge. No edge in both counts as preserved: equal images, constant ones too, have 0.987, the most that there
    is. The definition extends to N sources as it is; a source's own value takes it for the only one.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "qabf has the constants of Xydeas and Petrović, and weighs over the whole image: up to twice as high."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return local_edge_preservation(sources, fused)
