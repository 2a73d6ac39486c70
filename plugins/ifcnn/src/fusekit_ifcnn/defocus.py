"""Pairs to learn fusing from: one image twice, out of focus in complementary places, as the paper trains."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import gaussian

#: Least and greatest standard deviation of the blur, pixels.
_SIGMAS = (1.0, 4.0)
#: Places a side at which sharp and blurred are drawn; between them the border runs smoothly.
_PLACES = 4


def defocused_pair(x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Return two images that are sharp where the other one is blurred.

    Args:
        x: (B, 1, H, W), sharp.
        generator: of what is drawn, on the CPU; torch's own by default.

    Returns:
        two tensors (B, 1, H, W). Regions and the strength of the blur, one for the batch, are drawn.
    """
    drawn = torch.rand((len(x), 1, _PLACES, _PLACES), generator=generator)
    low, high = _SIGMAS
    sigma = low + (high - low) * float(torch.rand((), generator=generator))
    fine = F.interpolate(drawn, x.shape[2:], mode="bicubic", align_corners=False)
    near = (fine > 0.5).to(x)
    blurred = _blurred(x, sigma)
    return torch.lerp(blurred, x, near), torch.lerp(x, blurred, near)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Return x (B, 1, H, W) under a Gaussian of ``sigma`` pixels, its border repeated."""
    radius = math.ceil(3 * sigma)
    window = torch.tensor(gaussian(2 * radius + 1, sigma)).to(x)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
