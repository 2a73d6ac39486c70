"""``qcv``: perceived error, weighed by regional saliency (Chen and Varshney, 2007)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import derivatives, planes_of, ratio_or
from fusekit.metrics.qcb import frequencies, in_frequency, stretched

_BLOCK, _ALPHA = 16, 5


def perceived_error(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q_CV for all sources, (B,), and for each alone, (N, B).

    Each image is stretched to 0…255 and rounded. The differences to the sources are filtered by the contrast
    sensitivity of Mannos and Sakrison; their mean squares over 16×16 blocks are averaged with the weights Σ g⁵, g being
    the source's Sobel gradient with a zero border. Blocks that reach beyond the image are filled with zeros.

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
    """
    planes = stretched(planes_of([*sources, fused]))
    along_x, along_y = derivatives(planes[:-1], 2, "zero")
    saliency = _block_sums((along_x.square() + along_y.square()).pow(_ALPHA / 2))
    spatial = 0.144 * frequencies(planes, 8)
    sensitivity = 2.6 * (0.0192 + spatial) * torch.exp(-spatial.pow(1.1))
    error = _block_sums(in_frequency(planes[:-1] - planes[-1:], sensitivity).square()) / _BLOCK**2
    weighted, total = (saliency * error).sum(-1), saliency.sum(-1)
    joint = torch.where(total.sum(0) == 0, error.mean((0, -1)), ratio_or(weighted.sum(0), total.sum(0), 0.0))
    return joint, torch.where(total == 0, error.mean(-1), ratio_or(weighted, total, 0.0))


def _block_sums(planes: Tensor) -> Tensor:
    """Sum (N, B, H, W) over blocks, the last ones filled with zeros: → (N, B, blocks)."""
    height, width = planes.shape[-2:]
    filled = F.pad(planes, (0, -width % _BLOCK, 0, -height % _BLOCK))
    return filled.unfold(-2, _BLOCK, _BLOCK).unfold(-2, _BLOCK, _BLOCK).sum((-2, -1)).flatten(-2)


class PerceivedError(SharedWorkMetric):
    """Q_CV: the perceived squared error, weighed over blocks by the sources' edges; 0 is ideal.

    Equal images have 0, and so have constant ones, whatever their levels, because each image is stretched to its own
    extremes first. Where no source has an edge all blocks count alike. The definition extends to N sources as it is; a
    source's own value takes it for the only one.
    """

    range = (0.0, math.inf)
    data_range = "stretched to grey levels 0-255, rounded"
    look_alikes = (
        "Without rounding after the stretch, and with another padding of odd sizes (MetricsLab): differs by about 1 %, "
        "on odd sizes by up to a factor of 2.4."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return perceived_error(sources, fused)
