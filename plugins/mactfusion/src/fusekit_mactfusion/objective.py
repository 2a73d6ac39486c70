"""What MACTFusion is trained with, as in the authors' code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import TrainingError, gaussian

#: Weights of the terms: distance to the brighter source, dissimilarity of structure, distance to the steeper gradient.
INTENSITY, STRUCTURE, GRADIENT = 20.0, 10.0, 10.0
_SOBEL_X = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
#: Exponents of the scales of MS-SSIM (Wang et al., 2003), fine to coarse.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2


def fusion_loss(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of an image fused of two sources, (B, 1, H, W) in [0, 1] each, and its terms, in float32.

    20 · mean (F − max(A, B))² + 10 · (1 − M(F, A) / 2 − M(F, B) / 2) + 10 · mean |max(G(A), G(B)) − G(F)| with M of
    `normalized_ms_ssim` and G = |∂x| + |∂y| by Sobel filters. Terms are without their factors.
    """
    with torch.autocast(fused.device.type, enabled=False):
        first, second, fused = (each.float() for each in (*sources, fused))
        intensity = F.mse_loss(fused, torch.maximum(first, second))
        structure = 1 - (normalized_ms_ssim(fused, first) + normalized_ms_ssim(fused, second)) / 2
        gradient = F.l1_loss(steepness(fused), torch.maximum(steepness(first), steepness(second)))
        total = INTENSITY * intensity + STRUCTURE * structure + GRADIENT * gradient
    terms = {"intensity": intensity, "structure": structure, "gradient": gradient}
    return total, {name: value.detach() for name, value in terms.items()}


def steepness(x: Tensor) -> Tensor:
    """Return |∂x| + |∂y| of (B, 1, H, W), Sobel filters, zero outside."""
    kernel = torch.tensor(_SOBEL_X, dtype=x.dtype, device=x.device)
    return F.conv2d(x, torch.stack([kernel, kernel.T])[:, None], padding=1).abs().sum(1, keepdim=True)


def normalized_ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return MS-SSIM of two (B, 1, H, W) in [0, 1] as the authors have it, its terms brought from [−1, 1] to [0, 1].

    Five scales, each half as large as the one before; the mean over the batch before the exponents. The structure of
    the first four scales is multiplied, and with each of them the similarity of the last, which so counts four times.

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
        similarity, structure = _similarity(x, y)
        similarities.append((similarity + 1) / 2)
        structures.append((structure + 1) / 2)
    powers = [value**exponent for value, exponent in zip(structures, SCALES, strict=True)]
    last = similarities[-1] ** SCALES[-1]
    return torch.stack(powers[:-1]).prod() * last ** len(powers[:-1])


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of SSIM and of its contrast and structure term over the windows within the images.

    The Gaussian window has 11×11 pixels and σ = 1.5, fewer where the images are smaller.
    """
    side = min(_WINDOW, *x.shape[2:])
    row = torch.tensor(gaussian(side, _SIGMA), dtype=x.dtype, device=x.device)[None, None, None]

    def mean(z: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(z, row), row.mT)

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    structure = (2 * (mean(x * y) - mean_x * mean_y) + _C2) / (variances + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return (luminance * structure).mean(), structure.mean()
