"""What GeSeNet is trained with here; the authors published no training code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import steepness, structural_similarity

#: Weights of the terms: distance to the brighter source, to the steeper gradient, and structural dissimilarity.
INTENSITY, GRADIENT, STRUCTURE = 10.0, 10.0, 5.0


def fusion_loss(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of an image fused of two sources, (B, 1, H, W) in [0, 1] each, and its terms, in float32.

    The mean distance to the maximum of the sources, the mean distance of |∂x| + |∂y| (Sobel) to the maximum of the
    sources', and 1 − SSIM, the mean over the sources.
    """
    with torch.autocast(fused.device.type, enabled=False):
        first, second, fused = (each.float() for each in (*sources, fused))
        intensity = F.l1_loss(fused, torch.maximum(first, second))
        gradient = F.l1_loss(steepness(fused), torch.maximum(steepness(first), steepness(second)))
        likeness = [structural_similarity(each, fused).whole for each in (first, second)]
        structure = 1 - torch.stack(likeness).mean()
        total = INTENSITY * intensity + GRADIENT * gradient + STRUCTURE * structure
    terms = {"intensity": intensity, "gradient": gradient, "structure": structure}
    return total, {name: value.detach() for name, value in terms.items()}
