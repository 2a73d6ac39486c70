"""``ms-ssim``: structural similarity at five scales (Wang, Simoncelli and Bovik, 2003)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import TogetherMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.ssim import similarity_means

_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def multi_scale_similarity(source: Tensor, fused: Tensor) -> Tensor:
    """Return the multi-scale SSIM of images in [0, 1]: two (B, 1, H, W) → (B,).

    The product of the mean contrast and structure terms of the first four scales and the mean SSIM of the fifth, each
    to its exponent. From scale to scale both images are averaged over 2×2 pixels and halved, an odd last row or column
    beside its own copy. Windows as for ``ssim``, cut to the largest odd one that fits where a scale is below 11 pixels;
    this concerns images with a side below 161. A negative mean counts as 0.
    """
    return multi_scale_similarities([source], fused)[0]


def multi_scale_similarities(sources: Sequence[Tensor], fused: Tensor) -> Tensor:
    """Return `multi_scale_similarity` of each of N sources (B, 1, H, W) → (N, B)."""
    images = [precise(image) for image in (*sources, fused)]
    value = torch.ones((), dtype=images[0].dtype, device=fused.device)
    for scale, exponent in enumerate(_EXPONENTS, 1):
        both, structure = similarity_means(images[:-1], images[-1])
        value = value * (structure if scale < len(_EXPONENTS) else both).clamp_min(0) ** exponent
        images = [halved(image) for image in images]
    return value


def halved(image: Tensor) -> Tensor:
    """Average 2×2 pixels, an odd last row or column beside its own copy: (B, H, W) → (B, ⌈H/2⌉, ⌈W/2⌉)."""
    height, width = image.shape[-2:]
    return F.avg_pool2d(F.pad(image, (0, width % 2, 0, height % 2), mode="replicate"), 2)


class MultiScaleSSIM(TogetherMetric):
    """Multi-scale structural similarity, the mean over the sources. Equal images have 1.

    Two constants are compared by luminance at the coarsest scale alone.
    """

    range = (0.0, 1.0)
    data_range = "[0, 1], L = 1"
    combine = "mean"
    look_alikes = (
        "mef-ssim, which some toolboxes call MS-SSIM: three scales, all sources at once, usually higher. A padded "
        "border (torchmetrics): lower or higher by some hundredths. Zeros beside an odd last row or column "
        "(pytorch_msssim): the same on images whose sides 16 divides. MATLAB code takes the real part of a complex "
        "power where a scale's mean is negative."
    )

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return multi_scale_similarities(sources, fused)
