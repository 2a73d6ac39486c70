"""``ssim``: structural similarity (Wang et al., 2004)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import TogetherMetric
from fusekit.metrics.levels import precise, sum_of_bands
from fusekit.metrics.windows import fitting_side, window_within, windowed

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def structural_similarity(source: Tensor, fused: Tensor) -> Tensor:
    """Return the mean SSIM of images in [0, 1]: two (B, 1, H, W) → (B,).

    11×11 Gaussian window of σ = 1.5, population (co)variances, K₁ = 0.01, K₂ = 0.03, L = 1; the mean over the windows
    that lie within the image. Images with a side below 11 get the largest odd window that fits.
    """
    return similarity_means([source], fused)[0][0]


def similarity_means(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means over the windows of SSIM, and of its contrast and structure term alone.

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.

    Returns:
        two (N, B).
    """
    weights = window_within(fused, _WINDOW, _SIGMA)
    planes = torch.stack([precise(image)[:, 0] for image in (*sources, fused)])
    count = len(sources)
    halo = len(weights) - 1

    def measure(band: Tensor) -> Tensor:
        sums = windowed(torch.cat([band, band.square(), band[:-1] * band[-1:]]), weights)
        mean, square, product = torch.tensor_split(sums, [count + 1, 2 * count + 2])
        power = mean.square()
        variance = square.sub_(power).clamp_min_(0)
        both = mean[:-1] * mean[-1:]
        structure = product.sub_(both).mul_(2).add_(_C2).div_(variance[:-1] + variance[-1:] + _C2)
        luminance = both.mul_(2).add_(_C1).div_(power[:-1] + power[-1:] + _C1)
        return torch.stack([luminance.mul_(structure).sum((2, 3)), structure.sum((2, 3))])

    windows = (planes.shape[2] - halo) * (planes.shape[3] - halo)
    both, structure = sum_of_bands(measure, planes, halo=halo) / windows
    return both, structure


class SSIM(TogetherMetric):
    """Structural similarity, the mean over the sources.

    Equal images have 1, constant ones too; two different constants are compared by luminance alone.
    """

    range = (-1.0, 1.0)
    data_range = "[0, 1], L = 1"
    combine = "mean"
    look_alikes = (
        "ssim.sum: the sum of the sources (VIFB), twice this value for two. ssim.padded: the border mirrored "
        "(torchmetrics, MetricsLab); MATLAB repeats it. A uniform 7×7 window with sample variances (scikit-image's "
        "default): differs by up to some hundredths. L = 1 on grey levels 0-255: far lower."
    )

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return similarity_means(sources, fused)[0]


class SumSSIM(SSIM):
    """``ssim``, the sum over the sources: VIFB's value."""

    combine = "sum"
    look_alikes = "ssim: the mean of the sources. CDDFuse sums uniform 7×7 windows with L = 2: about two thirds."


class PaddedSSIM(SSIM):
    """``ssim`` with as many windows as pixels, the border mirrored: torchmetrics' value, and the EH-DRAN authors'."""

    look_alikes = "ssim: windows within the image only."

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        radius = fitting_side(_WINDOW, *fused.shape[2:]) // 2
        first, *others = (F.pad(image, (radius,) * 4, mode="reflect") for image in (fused, *sources))
        return super().compare_all(others, first)
