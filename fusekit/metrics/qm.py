"""``qm``: preservation of wavelet details at two scales (Wang and Liu, 2008)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import pixel_sum, planes_of

_EXPONENTS = (2 / 3, 1 / 3)


def wavelet_preservation(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q_M for all sources, (B,), and for each alone, (N, B).

    At each of two scales of the Haar wavelet, the agreement Σ exp(−|difference|) of the horizontal, vertical and
    diagonal details is averaged with their energies as weights; the result is Q₁^⅔ · Q₂^⅓. An odd side loses its last
    row or column at each scale.

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
    """
    smooth = planes_of([*sources, fused])
    joint, alone = torch.ones_like(smooth[0, :, 0, 0]), torch.ones_like(smooth[:-1, :, 0, 0])
    for exponent in _EXPONENTS:
        if min(smooth.shape[-2:]) >= 2:
            smooth, details = _haar(smooth)
            agreement = torch.exp(-(details[:, :-1] - details[:, -1:]).abs()).sum(0)
            energy = details[:, :-1].square().sum(0)
            own = energy.where((pixel_sum(energy) > 0)[..., None, None], 1.0)
            shared = energy.where((pixel_sum(energy).sum(0) > 0)[..., None, None], 1.0)
            alone_quality = pixel_sum(agreement * own) / pixel_sum(own)
            quality = pixel_sum((agreement * shared).sum(0)) / pixel_sum(shared.sum(0))
        joint, alone = joint * quality.pow(exponent), alone * alone_quality.pow(exponent)
    return joint, alone


def _haar(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Split (N, B, H, W) into its half-size mean part (N, B, H/2, W/2) and details (3, N, B, H/2, W/2)."""
    height, width = (side - side % 2 for side in planes.shape[-2:])
    quarters = [planes[..., i:height:2, j:width:2] / 2 for i in (0, 1) for j in (0, 1)]
    upper, lower = quarters[0] + quarters[1], quarters[2] + quarters[3]
    left, right = quarters[0] + quarters[2], quarters[1] + quarters[3]
    crossed = quarters[0] - quarters[1] - quarters[2] + quarters[3]
    return upper + lower, torch.stack([upper - lower, left - right, crossed])


class WaveletEdges(SharedWorkMetric):
    """Q_M: how closely the fused image's Haar details follow the sources', weighed by the sources' detail energy.

    3 is ideal, one for each of the horizontal, vertical and diagonal details: equal images and constant ones have it.
    Differences count on the scale 0-255 through exp(−|difference|), so that values of fused images are small. Where no
    source has details all places count alike; an image with a side below 4 has one scale only. The definition extends
    to N sources as it is; a source's own value takes it for the only one.
    """

    range = (0.0, 3.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "Divided by 3, so that 1 is ideal. On images in [0, 1]: far higher."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return wavelet_preservation(sources, fused)
