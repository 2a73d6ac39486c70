"""What GeSeNet is trained with here; the authors published no training code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import gaussian

#: Weights of the terms: distance to the brighter source, to the steeper gradient, and structural dissimilarity.
INTENSITY, GRADIENT, STRUCTURE = 10.0, 10.0, 5.0
_SOBEL_X = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
_WINDOW, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2


def fusion_loss(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of an image fused of two sources, (B, 1, H, W) in [0, 1] each, and its terms, in float32.

    The mean distance to the maximum of the sources, the mean distance of |∂x| + |∂y| (Sobel) to the maximum of the
    sources', and 1 − SSIM, the mean over the sources.
    """
    with torch.autocast(fused.device.type, enabled=False):
        first, second, fused = (each.float() for each in (*sources, fused))
        intensity = F.l1_loss(fused, torch.maximum(first, second))
        gradient = F.l1_loss(steepness(fused), torch.maximum(steepness(first), steepness(second)))
        structure = 1 - (similarity(first, fused) + similarity(second, fused)) / 2
        total = INTENSITY * intensity + GRADIENT * gradient + STRUCTURE * structure
    terms = {"intensity": intensity, "gradient": gradient, "structure": structure}
    return total, {name: value.detach() for name, value in terms.items()}


def steepness(x: Tensor) -> Tensor:
    """Return |∂x| + |∂y| of (B, 1, H, W), Sobel filters, zero outside."""
    kernel = torch.tensor(_SOBEL_X, dtype=x.dtype, device=x.device)
    return F.conv2d(x, torch.stack([kernel, kernel.T])[:, None], padding=1).abs().sum(1, keepdim=True)


def similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean SSIM (Wang et al., 2004) of two (B, 1, H, W) in [0, 1] over the windows within them.

    The Gaussian window has 11×11 pixels and σ = 1.5, fewer where the images are smaller.
    """
    side = min(_WINDOW, *x.shape[2:])
    row = torch.tensor(gaussian(side, _SIGMA), dtype=x.dtype, device=x.device)[None, None, None]

    def mean(z: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(z, row), row.mT)

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return (luminance * (2 * covariance + _C2) / (variances + _C2)).mean()
