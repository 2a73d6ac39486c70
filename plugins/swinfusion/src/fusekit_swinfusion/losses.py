"""What SwinFusion is trained to: the stronger gradient, the greater value, and likeness to both sources."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import steepness, structural_similarity

GRADIENT, INTENSITY, SIMILARITY = 100.0, 20.0, 50.0


def training_terms(a: Tensor, b: Tensor, fused: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a fused image (B, 1, H, W) and its sources, a scalar, and its three terms, in float32."""
    with torch.autocast(a.device.type, enabled=False):
        a, b, fused = a.float(), b.float(), fused.float()
        of_a, of_b, of_fused = (steepness(each) for each in (a, b, fused))
        likeness = [structural_similarity(each, fused, padded=True).whole for each in (a, b)]
        terms = {
            "gradient": F.l1_loss(of_fused, torch.maximum(of_a, of_b)),
            "intensity": F.l1_loss(fused, torch.maximum(a, b)),
            "similarity": 1 - torch.stack(likeness).mean(),
        }
        total = GRADIENT * terms["gradient"] + INTENSITY * terms["intensity"] + SIMILARITY * terms["similarity"]
    return total, {name: value.detach() for name, value in terms.items()}
