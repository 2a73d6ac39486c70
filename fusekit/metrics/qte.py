"""``qte``: Tsallis mutual information with the sources (Cvejic et al., 2006), and two published forms of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from fusekit.metrics.base import AllSourcesMetric, SourceMetric
from fusekit.metrics.levels import entropy_of_counts, gray_levels, joint_histogram, level_histogram, precise

_CVEJIC = 1.85
_NAVA = 0.43137


def tsallis_information(first: Tensor, second: Tensor, order: float, *, swapped: bool = False) -> Tensor:
    """Return (1 − Σ p(x, y)^q / (p(x)·p(y))^(q − 1)) / (1 − q): two (B, 1, H, W) in [0, 1] → (B,).

    Args:
        first: an image; its 256 grey levels are x.
        second: an image of that shape; its grey levels are y.
        order: q, neither 0 nor 1.
        swapped: take p(y) at x and p(x) at y, a slip of a widespread toolbox, and leave out where their product is 0.
    """
    shares = precise(joint_histogram(first, second)) / first[0].numel()
    of_first, of_second = shares.sum(2), shares.sum(1)
    if swapped:
        of_first, of_second = of_second, of_first
    product = of_first[:, :, None] * of_second[:, None, :]
    there = (shares > 0) & (product > 0)
    terms = torch.where(there, shares, 1) ** order / torch.where(there, product, 1) ** (order - 1)
    return (1 - terms.where(there, 0).sum((1, 2))) / (1 - order)


def stretched(image: Tensor) -> Tensor:
    """Stretch each image to 0…1, rounded to grey levels half up: (B, 1, H, W) → same; a constant one becomes 0."""
    levels = precise(gray_levels(image))
    least, most = levels.amin((1, 2, 3), keepdim=True), levels.amax((1, 2, 3), keepdim=True)
    return ((levels - least) / (most - least).clamp_min(1) * 255 + 0.5).floor() / 255


class TsallisInformation(SourceMetric):
    """Tsallis mutual information of order 1.85 of the fused image with each source, summed over the sources.

    0 where they share nothing, as where one is constant. Rare pairs of levels weigh more than in ``mi``: an image of
    256 equally frequent levels has 130 with itself.
    """

    range = (0.0, math.inf)
    data_range = "grey levels 0-255, rounded"
    combine = "sum"
    look_alikes = (
        "qte.liu: marginals swapped, often a hundred times as high. qte.nava: order 0.43137 and divided by the "
        "sources' entropies."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        # Rounding may leave a negative 1e-16 where the images are independent.
        return tsallis_information(source, fused, _CVEJIC).clamp_min(0)


class SwappedTsallisInformation(SourceMetric):
    """``qte`` as Liu's toolbox computes it: each level takes the other image's marginal, after a stretch to 0-255.

    Its values have no meaning of their own; use it to compare with tables that come from that code. A constant image
    becomes black in the stretch.
    """

    range = (-math.inf, math.inf)
    data_range = "grey levels, each image stretched to 0-255 and rounded"
    combine = "sum"
    look_alikes = "qte: with each image's own marginal. MetricsLab copies the swap without the stretch."

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return tsallis_information(stretched(source), stretched(fused), _CVEJIC, swapped=True)


class NormalizedTsallisInformation(AllSourcesMetric):
    """Nava's normalised Tsallis information as Liu's toolbox computes it, of order q = 0.43137.

    The sum over the sources of their information with the fused image, divided by Σ Hᵢ^q + Σ I(i, j): Shannon
    entropies in bits, to the power q, and the information of each pair of sources. Marginals are swapped as in
    ``qte.liu``. 0 where the divisor is 0.
    """

    range = (-math.inf, math.inf)
    data_range = "grey levels, each image stretched to 0-255 and rounded"
    look_alikes = "qte: not normalised, order 1.85."

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        images = [stretched(source) for source in sources]
        result = stretched(fused)
        shared = torch.zeros_like(precise(fused[:, 0, 0, 0]))
        divisor = torch.zeros_like(shared)
        for image in images:
            shared = shared + tsallis_information(image, result, _NAVA, swapped=True)
            divisor = divisor + entropy_of_counts(level_histogram(image)) ** _NAVA
        for one, other in combinations(images, 2):
            divisor = divisor + tsallis_information(one, other, _NAVA, swapped=True)
        return (shared / torch.where(divisor == 0, 1, divisor)).where(divisor != 0, 0)
