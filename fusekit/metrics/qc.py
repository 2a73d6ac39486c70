"""``qc``: similarity weighed by covariance with the fused image (Cvejic et al., 2005), and its variant ``qc.liu``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import planes_of, ratio_or
from fusekit.metrics.qy import Moments, mean_where


def covariance_similarity(sources: Sequence[Tensor], fused: Tensor, replace: bool = False) -> tuple[Tensor, Tensor]:
    """Return Q_C for one source or two, (B,), and for each alone, (N, B).

    Args:
        sources: one image or two, (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
        replace: where the first source's share lies outside [0, 1], let the window's quality, instead of the share, be
            0 or 1.
    """
    moments = Moments(planes_of([*sources, fused]))
    count = len(sources)
    quality, flat = moments.quality(slice(count), count), moments.flat[:count]
    alone = mean_where(quality, ~flat)
    if count == 1:
        return alone[0], alone
    covariance = moments.covariance(slice(count), count)
    share = ratio_or(covariance[0], covariance.sum(0), 0.5)
    local = share.clamp(0, 1) * quality[0] + (1 - share.clamp(0, 1)) * quality[1]
    if replace:
        local = torch.where(share < 0, 0.0, torch.where(share > 1, 1.0, local))
    return mean_where(local, ~flat.all(0)), alone


class CovarianceSimilarity(SharedWorkMetric):
    """Q_C: in each window the universal quality index with the sources, weighed by their covariances with it.

    The first source's share σ_AF / (σ_AF + σ_BF) is cut to [0, 1], and ½ where neither covaries. Windows that are flat
    in both sources are left out, unless all are: then two flat windows are compared by their means, and a flat one and
    another have 0. Equal images have 1, constant ones too. With one source it is the mean quality index.
    """

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    max_sources = 2
    look_alikes = (
        "qc.liu sets the window's quality, not the share, to 0 or 1: differs by some hundredths. Implementations "
        "return NaN where a window is flat, values up to some hundred, or count such windows as 0 (MetricsLab), "
        "which halves the value of images with black surroundings."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return covariance_similarity(sources, fused)


class CovarianceSimilarityLiu(CovarianceSimilarity):
    """``qc`` as Liu's toolbox and MetricsLab have it: a share below 0 gives 0, one above 1 gives 1.

    The value depends on the order of the sources.
    """

    look_alikes = "qc, the paper's, cuts the share itself to [0, 1]: differs by some hundredths."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return covariance_similarity(sources, fused, replace=True)
