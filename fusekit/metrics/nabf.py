"""``nabf`` and ``labf``: artefacts that fusion adds and edges that it loses (Petrović and Xydeas, 2005)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import derivatives, padded_planes, pixel_sum, ratio_or
from fusekit.metrics.levels import scaled, sum_of_bands


class EdgeBalance(NamedTuple):
    """What became of each source's edges, weighed and summed over the image: tensors (N, B).

    Attributes:
        kept: preserved.
        lost: not preserved, where some source's edge is at least as strong as the fused image's.
        added: not preserved, where the fused image's edge is the strongest.
        added_alone: likewise, where it is stronger than this source's, whatever the others are.
        lost_alone: the rest of what is not preserved.
        added_twice: Petrović's: the unpreserved shares of all sources times this source's weight.
        total: the weights.
    """

    kept: Tensor
    lost: Tensor
    added: Tensor
    added_alone: Tensor
    lost_alone: Tensor
    added_twice: Tensor
    total: Tensor


def edge_balance(sources: Sequence[Tensor], fused: Tensor) -> EdgeBalance:
    """Weigh up the edges of N sources (B, 1, H, W) in [0, 1] and of a fused image of that shape.

    Sobel gradients divided by 8 on grey levels of 0-255, with a mirrored border that does not repeat the edge pixel;
    Γ_g = 0.9999, κ_g = 19, Γ_α = 0.9995, κ_α = 22, σ_g = σ_α = 0.5; weights g^1.5 where g ≥ 2 and 0.001 elsewhere.
    """
    sums = sum_of_bands(_edge_sums, padded_planes([*sources, fused], "reflect"), halo=2)
    return EdgeBalance(*sums.unbind(0))


def _edge_sums(band: Tensor) -> Tensor:
    """Return the fields of `EdgeBalance` of padded (N + 1, B, h, w), the fused image last: (7, N, B)."""
    along_x, along_y = (part / 8 for part in derivatives(scaled(band), 2, None))
    strength = (along_x.square() + along_y.square()).sqrt()
    angle = torch.where(
        along_y == 0, torch.where(along_x == 0, 0.0, math.pi / 2), torch.atan(along_x / along_y.where(along_y != 0, 1))
    )
    own, of_fused = strength[:-1], strength[-1:]
    relative = ratio_or(torch.minimum(own, of_fused), torch.maximum(own, of_fused), 0.0)
    alike = ((angle[:-1] - angle[-1:]).abs() - math.pi / 2).abs() * (2 / math.pi)
    kept = (0.9999 * 0.9995 * torch.sigmoid(19 * (relative - 0.5)) * torch.sigmoid(22 * (alike - 0.5))).sqrt()
    weight = torch.where(own >= 2, own.pow(1.5), 0.001)
    stronger = of_fused > own
    everywhere = stronger.all(0)
    missed = 1 - kept
    gone = missed * weight
    sums = (
        kept * weight,
        gone * ~everywhere,
        gone * everywhere,
        gone * stronger,
        gone * ~stronger,
        missed.sum(0) * everywhere * weight,
        weight,
    )
    return torch.stack([pixel_sum(each) for each in sums])


class FusionArtefacts(SharedWorkMetric):
    """N^{AB/F}: edges of the fused image that come from no source, as a share of the sources' edges.

    With ``qabf.kumar`` and ``labf`` it adds up to 1. Equal images have 0, and so have constant ones. The definition
    extends to N sources as it is; a source's own value takes it for the only one.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "nabf.petrovic counts the unpreserved shares of all sources for each source's weight: higher, up to N times. A "
        "widespread evaluation script passes the images in the wrong order (a source in the fused image's place): "
        "often more than 10 times as high."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        balance = edge_balance(sources, fused)
        return balance.added.sum(0) / balance.total.sum(0), balance.added_alone / balance.total


class FusionArtefactsPetrovic(SharedWorkMetric):
    """N^{AB/F} as Petrović put it: each source's weight times the unpreserved shares of all of them.

    Equal images have 0, and so have constant ones. For one source it is ``nabf``; the range is that of two sources.
    """

    range = (0.0, 2.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "nabf counts each source's unpreserved share for its own weight: lower, and Q + L + N = 1."
    max_sources = 2

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        balance = edge_balance(sources, fused)
        return balance.added_twice.sum(0) / balance.total.sum(0), balance.added_alone / balance.total


class FusionLoss(SharedWorkMetric):
    """L^{AB/F}: edges of the sources that the fused image lost, as a share of the sources' edges.

    With ``qabf.kumar`` and ``nabf`` it adds up to 1. Where an image is compared with itself 3.5e-4 remain, because
    the preservation saturates below 1; constant images have 0.991: where neither has an edge little is preserved. The
    definition extends to N sources as it is; a source's own value takes it for the only one.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "With the constants of Xydeas and Petrović (2000), to go with qabf: higher."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        balance = edge_balance(sources, fused)
        return balance.lost.sum(0) / balance.total.sum(0), balance.lost_alone / balance.total
