"""SFNN's nuclear norms by what a GPU does well: one pass for bounds, and matrix products for the channels that matter.

The bounds are those of `fusekit_ehdran.rules.nuclear`, from the sums of squares, rows and columns; norms are those of
`fusekit_ehdran.kernels.polar`. Nothing here imports triton; the pass is a kernel where the caller hands one in.

For the channels that are left a few columns Q tighten the bound, at a tenth of the price of a norm at 256×256. Q need
not be orthonormal, as long as ‖Q‖ ≤ 1, and so comes from few products: with P = QQᵀ, ‖PA‖_* ≤ ‖QᵀA‖_*, and
‖(I − P)A‖_F² ≤ ‖A‖_F² − ‖QᵀA‖_F², since (I − P)² ≤ I − P; thus ‖A‖_* ≤ ‖QᵀA‖_* + √(r·(‖A‖_F² − ‖QᵀA‖_F²)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fusekit.extend import Weighing, WeightedRule, exact_float32
from fusekit_ehdran.fast.form import stacked
from fusekit_ehdran.kernels.polar import nuclear_norms, polar_factors
from fusekit_ehdran.rules.nuclear import ROUNDING, Greatest, may_win, upper_bounds
from fusekit_ehdran.rules.sfnn import SFNN, SoftmaxNuclearNormRule

#: Values of the matrices that are decomposed at once: about 3 GiB with all that it takes.
_VALUES_AT_ONCE = 2**27

#: Columns of Q.
_SUBSPACE = 64

#: What the rule's report says of the norms.
HOW = "by matrix products, within 1e-5"


class ShareStatistics(NamedTuple):
    """Statistics of the softmax over channels of features (B, C, H, W).

    Attributes:
        squares: (B, C) float64, the sum of squares of each channel, its Frobenius norm squared.
        row_sums, column_sums: (B, C, H) and (B, C, W) float32.
        log_sums: (B, H, W) float32, the logarithm of each pixel's sum of exponentials.
    """

    squares: Tensor
    row_sums: Tensor
    column_sums: Tensor
    log_sums: Tensor


def share_statistics_twin(features: Tensor) -> ShareStatistics:
    """Do as `fusekit_ehdran.kernels.softmax_statistics.share_statistics` in plain torch."""
    features = features.float()
    shares = features.softmax(1)
    squares = shares.square().sum((2, 3), dtype=torch.float64)
    return ShareStatistics(squares, shares.sum(3), shares.sum(2), features.logsumexp(1))


def shares_of(features: Tensor, log_sums: Tensor, images: Tensor, channels: Tensor) -> Tensor:
    """Return the shares of some channels, each of an image: (…, H, W), float32.

    Args:
        features: (B, C, H, W).
        log_sums: (B, H, W), from the statistics.
        images, channels: (…) int64.
    """
    return (features[images, channels].float() - log_sums[images]).exp_()


def weighing_of(
    rule: WeightedRule, features: Sequence[Tensor], statistics: Callable[[Tensor], ShareStatistics]
) -> Weighing | None:
    """Return the weights of a rule of SFNN's family for features of N sources (B, C, H, W), ``None`` of other rules.

    Args:
        rule: any that weighs its sources.
        features: of each source.
        statistics: the pass over the features, as in `greatest_nuclear_norms`.
    """
    shape = (len(features), len(features[0]))
    if isinstance(rule, SFNN) and type(rule).weigh is SFNN.weigh:
        norms, counts = greatest_nuclear_norms(stacked(features), statistics)
        decomposed = counts.view(shape).tolist()
        found = [
            [Greatest(norm, count) for norm, count in zip(*each, strict=True)]
            for each in zip(norms.view(shape), decomposed, strict=True)
        ]
        return rule.weighing_of(found, HOW)
    if isinstance(rule, SoftmaxNuclearNormRule) and type(rule).weigh is SoftmaxNuclearNormRule.weigh:
        return rule.weighing_of(all_nuclear_norms(stacked(features)).unflatten(0, shape), HOW)
    return None


def all_nuclear_norms(features: Tensor) -> Tensor:
    """Return the nuclear norms of all channels of the softmax: (B, C, H, W) → (B, C), float32."""
    batch, channels = features.shape[:2]
    pairs = torch.cartesian_prod(torch.arange(batch), torch.arange(channels)).to(features.device)
    return _norms_of(features, features.float().logsumexp(1), pairs).unflatten(0, (batch, channels))


def greatest_nuclear_norms(
    features: Tensor,
    statistics: Callable[[Tensor], ShareStatistics] = share_statistics_twin,
    at_once: int = 8,
) -> tuple[Tensor, Tensor]:
    """Return the greatest nuclear norm of each image's channels, and how many channels were decomposed for it.

    In every round each image that is not decided has the bounds of its ``at_once`` most promising channels tightened,
    and those decomposed that may still win, until no bound is above the best value so far.

    Args:
        features: (B, C, H, W).
        statistics: the pass over the features.
        at_once: 1 or more. More make fewer rounds, each of which waits for answers of the device.

    Returns:
        (B,) float32, and (B,) int64.
    """
    found = statistics(features)
    bounds, order = upper_bounds(found.squares, found.row_sums, found.column_sums).sort(dim=1, descending=True)
    best, decomposed = bounds.new_zeros(len(features)), order.new_zeros(len(features))
    at_a_time = max(1, _VALUES_AT_ONCE // (at_once * features.shape[2] * features.shape[3]))
    for start in range(0, features.shape[1], at_once):
        undecided = may_win(bounds[:, start], best).nonzero().flatten()
        if not len(undecided):
            break
        for images in undecided.split(at_a_time):
            channels = order[images, start : start + at_once]
            maps = shares_of(features, found.log_sums, images[:, None].expand_as(channels), channels)
            least, most = _tightened(maps.flatten(0, 1), found.squares[images].gather(1, channels).flatten())
            most = torch.minimum(most.view_as(channels), bounds[images, start : start + at_once])
            known = torch.maximum(best[images], least.view_as(channels).amax(1))
            chosen = may_win(most, known[:, None])
            norms = most.new_zeros(most.shape).masked_scatter(chosen, nuclear_norms(maps[chosen]).double())
            best[images] = torch.maximum(best[images], norms.amax(1))
            decomposed[images] += chosen.sum(1)
    return best.float(), decomposed


def _tightened(maps: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return a lower and an upper bound of the nuclear norms of maps (M, H, W) with these sums of squares: two (M,)."""
    height, width = maps.shape[1:]
    rank = min(height, width)
    if rank <= 2 * _SUBSPACE:
        return squares.new_zeros(len(maps)), squares.new_full((len(maps),), torch.inf)
    # Cosines of few periods: maps of images are smooth before all else.
    steps = (torch.arange(height, device=maps.device) + 0.5) * (torch.pi / height)
    waves = torch.cos(steps[:, None] * torch.arange(_SUBSPACE, device=maps.device))
    with exact_float32():
        basis = polar_factors(maps @ (maps.mT @ waves), 1e-6) * (1 - ROUNDING)
        inside = basis.mT @ maps
    within = inside.square().sum((1, 2), dtype=torch.float64)
    norm = nuclear_norms(inside, tolerance=1e-4).double()
    outside = (squares * (1 + ROUNDING) - within).clamp_min(0)
    return norm * (1 - ROUNDING), norm * (1 + 2e-4) + (rank * outside).sqrt()


def _norms_of(features: Tensor, log_sums: Tensor, pairs: Tensor) -> Tensor:
    """Return the nuclear norms of the shares of M channels given as image and channel: (M, 2) → (M,)."""
    count = max(1, _VALUES_AT_ONCE // (features.shape[2] * features.shape[3]))
    return torch.cat([nuclear_norms(shares_of(features, log_sums, *part.unbind(1))) for part in pairs.split(count)])
