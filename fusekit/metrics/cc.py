"""``cc`` and ``scd``: linear correlation with the sources, and of the differences with them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric, TogetherMetric
from fusekit.metrics.levels import bands, precise

# Root mean square deviation on [0, 1] up to which an image counts as constant: far below a grey level, above rounding.
_CONSTANT = 1e-12


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of two (B, 1, H, W) → (B,); 0 where one of them is constant."""
    return correlations(covariances(bands(first, second)))[:, 0, 1]


def covariances(parts: Iterable[Sequence[Tensor]]) -> Tensor:
    """Return the covariances over the pixels of M images, which come in bands: (B, 1, h, W) each → (B, M, M)."""
    start: Tensor | None = None
    sums, products, count = torch.zeros(()), torch.zeros(()), 0
    for band in parts:
        values = torch.stack([precise(image).flatten(1) for image in band], 1)
        # From the first pixel on: of a constant image nothing is left, not even rounding.
        start = values[..., :1].clone() if start is None else start
        values -= start
        sums, products, count = sums + values.sum(2), products + values @ values.mT, count + values.shape[2]
    means = sums / count
    return products / count - means[:, :, None] * means[:, None]


def correlations(covariance: Tensor) -> Tensor:
    """Return Pearson's correlations of (B, M, M) covariances; 0 where an image is constant."""
    power = covariance.diagonal(dim1=1, dim2=2)
    varied = power > _CONSTANT**2
    scale = power.where(varied, 1).sqrt()
    value = covariance / (scale[:, :, None] * scale[:, None])
    return value.clamp(-1, 1).where(varied[:, :, None] & varied[:, None], 0)


class Correlation(TogetherMetric):
    """Pearson's correlation of the fused image with each source, the mean over the sources.

    A constant image correlates with nothing: 0.
    """

    range = (-1.0, 1.0)
    data_range = "any; the scale cancels"
    combine = "mean"
    look_alikes = "The sum of the two sources: twice this value. The absolute value of each correlation."

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return correlations(covariances(bands(*sources, fused)))[:, :-1, -1].T


class DifferenceCorrelation(SharedWorkMetric):
    """Sum of the correlations of differences: how well F − (the other sources) correlates with each source.

    For two sources r(F − B, A) + r(F − A, B), in [−2, 2]; N sources have N terms, each against the fused image less
    the sum of the others. A constant image or difference, as where F = A, has the correlation 0.
    """

    range = (-math.inf, math.inf)
    data_range = "any; the scale cancels"
    look_alikes = "Code that guards the division by an epsilon gives other values where F equals a source."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        count = len(sources)

        def parts() -> Iterator[list[Tensor]]:
            for *band, rest in bands(*sources, fused):
                left = []
                for number in range(count):
                    others = [each for place, each in enumerate(band) if place != number]
                    left.append(functools.reduce(torch.sub, others, rest))
                yield left + band

        values = correlations(covariances(parts())).diagonal(count, 1, 2).T
        return values.sum(0), values
