"""What SwinFusion is trained to: the stronger gradient, the greater value, and likeness to both sources."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GRADIENT, INTENSITY, SIMILARITY = 100.0, 20.0, 50.0


def training_terms(a: Tensor, b: Tensor, fused: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a fused image (B, 1, H, W) and its sources, a scalar, and its three terms, in float32."""
    with torch.autocast(a.device.type, enabled=False):
        a, b, fused = a.float(), b.float(), fused.float()
        of_a, of_b, of_fused = (sobel(each) for each in (a, b, fused))
        terms = {
            "gradient": F.l1_loss(of_fused, torch.maximum(of_a, of_b)),
            "intensity": F.l1_loss(fused, torch.maximum(a, b)),
            "similarity": 1 - (ssim(a, fused) + ssim(b, fused)) / 2,
        }
        total = GRADIENT * terms["gradient"] + INTENSITY * terms["intensity"] + SIMILARITY * terms["similarity"]
    return total, {name: value.detach() for name, value in terms.items()}


def sobel(x: Tensor) -> Tensor:
    """Return |∂x| + |∂y| of images (B, 1, H, W), by Sobel's filters, zeros around."""
    along = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=x.device, dtype=x.dtype)
    return F.conv2d(x, torch.stack([along, along.T])[:, None], padding=1).abs().sum(1, keepdim=True)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean structural similarity of images in [0, 1]: an 11×11 Gaussian of 1.5 pixels, zeros around."""
    offsets = torch.arange(11, device=x.device, dtype=x.dtype) - 5
    weights = torch.exp(-offsets.square() / (2 * 1.5**2))
    weights = weights / weights.sum()
    window = (weights[:, None] * weights[None, :])[None, None]

    def mean(image: Tensor) -> Tensor:
        return F.conv2d(image, window, padding=5)

    of_x, of_y = mean(x), mean(y)
    variances = mean(x * x) - of_x.square() + mean(y * y) - of_y.square()
    covariance = mean(x * y) - of_x * of_y
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * of_x * of_y + c1) * (2 * covariance + c2) / ((of_x.square() + of_y.square() + c1) * (variances + c2))
    return found.mean()
