"""``cc`` and ``scd``: linear correlation with the sources, and of the differences with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import AllSourcesMetric, SourceMetric, precise

# Root mean square deviation on [0, 1] up to which an image counts as constant: far below a grey level, above rounding.
_CONSTANT = 1e-12


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of two (B, 1, H, W) → (B,); 0 where one of them is constant."""
    x, y = precise(first).flatten(1), precise(second).flatten(1)
    x = x - x.mean(1, keepdim=True)
    y = y - y.mean(1, keepdim=True)
    power_x, power_y = x.square().mean(1), y.square().mean(1)
    varied = (power_x > _CONSTANT**2) & (power_y > _CONSTANT**2)
    value = (x * y).mean(1) / torch.where(varied, (power_x * power_y).sqrt(), 1)
    return value.clamp(-1, 1).where(varied, 0)


class Correlation(SourceMetric):
    """Pearson's correlation of the fused image with each source, the mean over the sources.

    A constant image correlates with nothing: 0.
    """

    name = "cc"
    direction = "higher"
    range = (-1.0, 1.0)
    data_range = "any; the scale cancels"
    combine = "mean"
    reference = (
        "Deshmukh, Bhosale: Image fusion and image quality assessment of fused images. International Journal of Image "
        "Processing 4(5), 2010"
    )
    look_alikes = "The sum of the two sources: twice this value. The absolute value of each correlation."

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return correlation(source, fused)


class DifferenceCorrelation(AllSourcesMetric):
    """Sum of the correlations of differences: how well F − (the other sources) correlates with each source.

    For two sources r(F − B, A) + r(F − A, B), in [−2, 2]; N sources have N terms, each against the fused image less
    the sum of the others. A constant image or difference, as where F = A, has the correlation 0.
    """

    name = "scd"
    direction = "higher"
    range = (-math.inf, math.inf)
    data_range = "any; the scale cancels"
    reference = (
        "Aslantas, Bendes: A new image quality metric for image fusion: the sum of the correlations of differences. "
        "AEU International Journal of Electronics and Communications 69(12), 2015"
    )
    look_alikes = "Code that guards the division by an epsilon gives other values where F equals a source."

    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        exact = [precise(source) for source in sources]
        left = precise(fused) - torch.stack(exact).sum(0)
        return torch.stack([correlation(left + source, source) for source in exact])

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return self.per_source(sources, fused).sum(0)
