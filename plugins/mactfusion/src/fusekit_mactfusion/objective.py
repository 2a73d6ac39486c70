"""What MACTFusion is trained with, as in the authors' code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import normalized_ms_ssim, steepness

#: Weights of the terms: distance to the brighter source, dissimilarity of structure, distance to the steeper gradient.
INTENSITY, STRUCTURE, GRADIENT = 20.0, 10.0, 10.0


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
