"""Terms that objectives of several models are made of: steepness, structural similarity, that at several scales."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.edges.gradient import Sobel
from fusekit.errors import TrainingError
from fusekit.metrics.windows import gaussian

#: Exponents of the scales of MS-SSIM (Wang et al., 2003), fine to coarse.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2


class Similarity(NamedTuple):
    """Means over batch and windows, scalars with gradients.

    Attributes:
        whole: SSIM.
        structure: its contrast and structure term alone.
    """

    whole: Tensor
    structure: Tensor


def steepness(x: Tensor) -> Tensor:
    """Return |∂x| + |∂y| of (B, 1, H, W), Sobel filters, zero outside."""
    kernel = torch.tensor(Sobel.kernel, dtype=x.dtype, device=x.device)
    return F.conv2d(x, torch.stack([kernel, kernel.T])[:, None], padding=1).abs().sum(1, keepdim=True)


def structural_similarity(x: Tensor, y: Tensor, *, padded: bool = False) -> Similarity:
    """Return SSIM (Wang et al., 2004) of two (B, 1, H, W) in [0, 1], to be trained by.

    The Gaussian window has 11×11 pixels and σ = 1.5.

    Args:
        x: one image.
        y: the other.
        padded: a window around each pixel, zero outside the images; else windows within them, smaller than 11 pixels
            where the images are.
    """
    side = _WINDOW if padded else min(_WINDOW, *x.shape[2:])
    row = torch.tensor(gaussian(side, _SIGMA), dtype=x.dtype, device=x.device)[None, None, None]
    pad = side // 2 if padded else 0

    def mean(z: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(z, row, padding=(0, pad)), row.mT, padding=(pad, 0))

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    structure = (2 * (mean(x * y) - mean_x * mean_y) + _C2) / (variances + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return Similarity((luminance * structure).mean(), structure.mean())


def normalized_ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return MS-SSIM of two (B, 1, H, W) in [0, 1], its terms brought from [−1, 1] to [0, 1]: a scalar.

    As the code of several published networks has it: five scales, each half as large as the one before; the mean over
    the batch before the exponents. The structure of the first four scales is multiplied, and with each of them the
    similarity of the last, which so counts four times.

    Raises:
        TrainingError: a side is shorter than 16 pixels, which makes no five scales.
    """
    least = 1 << len(SCALES) - 1
    if min(x.shape[2:]) < least:
        side = min(x.shape[2:])
        raise TrainingError(f"MS-SSIM has {len(SCALES)} scales, and a side of {side}; give --crop {least} or more")
    structures, similarities = [], []
    for scale in range(len(SCALES)):
        if scale > 0:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        found = structural_similarity(x, y)
        similarities.append((found.whole + 1) / 2)
        structures.append((found.structure + 1) / 2)
    powers = [value**exponent for value, exponent in zip(structures, SCALES, strict=True)]
    last = similarities[-1] ** SCALES[-1]
    return torch.stack(powers[:-1]).prod() * last ** len(powers[:-1])
