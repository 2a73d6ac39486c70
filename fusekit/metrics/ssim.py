"""``ssim``: structural similarity (Wang et al., 2004)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import SourceMetric, precise
from fusekit.metrics.local import fitting_side, moments, window_within

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def structural_similarity(source: Tensor, fused: Tensor) -> Tensor:
    """Return the mean SSIM of images in [0, 1]: two (B, 1, H, W) → (B,).

    11×11 Gaussian window of σ = 1.5, population (co)variances, K₁ = 0.01, K₂ = 0.03, L = 1; the mean over the windows
    that lie within the image. Images with a side below 11 get the largest odd window that fits.
    """
    luminance, structure = similarity_maps(precise(source)[:, 0], precise(fused)[:, 0])
    return (luminance * structure).mean((1, 2))


def similarity_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the luminance term and the contrast and structure term of each window: two (B, H, W) → two maps."""
    mean_x, mean_y, variance_x, variance_y, covariance = moments(x, y, window_within(x, _WINDOW, _SIGMA))
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return luminance, structure


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
        "ssim.sum: the sum of the sources (VIFB), twice this value for two. ssim.padded: the border mirrored "
        "(torchmetrics, MetricsLab); MATLAB repeats it. A uniform 7×7 window with sample variances (scikit-image's "
        "default): differs by up to some hundredths. L = 1 on grey levels 0-255: far lower."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return structural_similarity(source, fused)


class SumSSIM(SSIM):
    """``ssim``, the sum over the sources: VIFB's value."""

    name = "ssim.sum"
    combine = "sum"
    look_alikes = "ssim: the mean of the sources. CDDFuse sums uniform 7×7 windows with L = 2: about two thirds."


class PaddedSSIM(SSIM):
    """``ssim`` with as many windows as pixels, the border mirrored: torchmetrics' value, and the EH-DRAN authors'."""

    name = "ssim.padded"
    look_alikes = "ssim: windows within the image only."

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        radius = fitting_side(_WINDOW, *source.shape[2:]) // 2
        padded = (F.pad(precise(image), (radius,) * 4, mode="reflect") for image in (source, fused))
        return structural_similarity(*padded)
