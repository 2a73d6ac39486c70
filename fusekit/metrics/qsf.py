"""``qsf``: ratio of spatial frequency error (Zheng et al., 2007), and its variant ``qsf.metricslab``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import pixel_sum, planes_of
from fusekit.metrics.windows import pad


def frequency_error(sources: Sequence[Tensor], fused: Tensor, padded: bool = False) -> tuple[Tensor, Tensor]:
    """Return (SF(F) − SF(R)) / SF(R) for all sources, (B,), and for each alone, (N, B).

    SF² is the sum of the mean squared differences to the neighbours in the row, the column and both diagonals, and the
    reference R takes, for each pair of neighbours, the largest absolute difference of any source.

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
        padded: replicate the border, so that each pixel has all differences, and weigh the squared diagonal
            differences by ½ instead of 1/√2.
    """
    planes = planes_of([*sources, fused])
    squares = _squares(planes, padded)
    pixels = planes[0, 0].numel()
    each = torch.stack([pixel_sum(part) for part in squares]).sum(0) / pixels
    joint = torch.stack([pixel_sum(part[:-1].amax(0)) for part in squares]).sum(0) / pixels
    alone, of_fused = each[:-1].sqrt(), each[-1].sqrt()
    return _error(of_fused, joint.sqrt()), _error(of_fused, alone)


def _squares(planes: Tensor, padded: bool) -> list[Tensor]:
    """Return the weighted squared differences in the four directions: of (N, B, H, W), four (N, B, H', W')."""
    if not padded:
        return [
            planes.diff(dim=-1).square(),
            planes.diff(dim=-2).square(),
            (planes[..., 1:, 1:] - planes[..., :-1, :-1]).square() / math.sqrt(2),
            (planes[..., 1:, :-1] - planes[..., :-1, 1:]).square() / math.sqrt(2),
        ]
    around = pad(planes, (0, 1, 0, 1), "replicate")
    here, right, below, beyond = (around[..., i : i - 1 or None, j : j - 1 or None] for i in (0, 1) for j in (0, 1))
    return [
        (right - here).square(),
        (below - here).square(),
        (beyond - here).square() / 2,
        (below - right).square() / 2,
    ]


def _error(value: Tensor, reference: Tensor) -> Tensor:
    """Return (value − reference) / reference; 0/0 is 0, and x/0 is infinite."""
    return torch.where(value == reference, 0.0, (value - reference) / reference)


class FrequencyRatio(SharedWorkMetric):
    """Ratio of spatial frequency error: how far the fused image's spatial frequency is from the sources' greatest.

    0 is ideal; less than 0 tells of detail that was lost, more than 0 of detail or noise that no source has. Fusion
    methods usually lose detail, which is why higher counts as better here. Where no source has any detail the value is
    0 if the fused image has none either, and infinite if it has. The reference extends to N sources as it is; a
    source's own value takes it for the only one.
    """

    range = (-1.0, math.inf)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = (
        "qsf.metricslab halves the squared diagonal differences, where the paper weighs them by 1/√2, and replicates "
        "the border: differs by some ten-thousandths. Its absolute value is quoted too; then lower is better."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return frequency_error(sources, fused)


class FrequencyRatioMetricsLab(FrequencyRatio):
    """``qsf`` with halved diagonal squares and a replicated border, as in the MetricsLab package."""

    look_alikes = "qsf is the paper's: diagonal squares weighed by 1/√2, differences within the image only."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return frequency_error(sources, fused, padded=True)
