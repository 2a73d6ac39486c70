"""``ssim``: structural similarity (Wang et al., 2004)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import SourceMetric, precise

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def structural_similarity(source: Tensor, fused: Tensor) -> Tensor:
    """Return the mean SSIM of images in [0, 1]: two (B, 1, H, W) → (B,).

    11×11 Gaussian window of σ = 1.5, population (co)variances, K₁ = 0.01, K₂ = 0.03, L = 1; the mean over the windows
    that lie within the image. Images with a side below 11 get the largest odd window that fits.
    """
    x, y = precise(source), precise(fused)
    moments = _windowed(torch.cat([x, y, x * x, y * y, x * y], dim=1))
    mean_x, mean_y, square_x, square_y, product = moments.unbind(1)
    covariance = product - mean_x * mean_y
    variances = square_x - mean_x.square() + square_y - mean_y.square()
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return (luminance * structure).mean((1, 2))


def _windowed(channels: Tensor) -> Tensor:
    """Average each channel of (B, C, H, W) under the Gaussian window, within the image only."""
    count = channels.shape[1]
    side = min(_WINDOW, *channels.shape[2:])
    side -= 1 - side % 2
    offsets = torch.arange(side, dtype=channels.dtype, device=channels.device) - side // 2
    window = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    window = window / window.sum()
    rows = F.conv2d(channels, window.view(1, 1, 1, side).expand(count, 1, 1, side), groups=count)
    return F.conv2d(rows, window.view(1, 1, side, 1).expand(count, 1, side, 1), groups=count)


class SSIM(SourceMetric):
    """Structural similarity, the mean over the sources.

    Equal images have 1, constant ones too; two different constants are compared by luminance alone.
    """

    name = "ssim"
    direction = "higher"
    range = (-1.0, 1.0)
    data_range = "[0, 1], L = 1"
    combine = "mean"
    reference = (
        "Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity. "
        "IEEE Transactions on Image Processing 13(4), 2004"
    )
    look_alikes = (
        "VIFB sums the two sources: twice this value. A padded border (MATLAB, torchmetrics), or a uniform 7×7 window "
        "with sample variances (scikit-image's default): differs by up to some hundredths. L = 1 on grey levels 0-255: "
        "far lower."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return structural_similarity(source, fused)
