"""What several metrics compute alike: planes of grey levels, derivatives, means and quotients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.levels import levels
from fusekit.metrics.windows import pad

#: A window whose variance on the scale 0-255 stays below this is flat. The least variance of 8-bit levels under the
#: windows used here is 1e-6; float64 rounding leaves 1e-10.
FLAT = 1e-8


def padded_planes(images: Sequence[Tensor], border: str) -> Tensor:
    """Stack N images (B, 1, H, W) in [0, 1], unscaled, with one more row and column on each side, as for `pad`."""
    return pad(torch.stack([image[:, 0] for image in images]), (1, 1, 1, 1), border)


def planes_of(images: Sequence[Tensor]) -> Tensor:
    """Stack N images (B, 1, H, W) in [0, 1] as (N, B, H, W) on the scale 0-255."""
    return torch.stack([levels(image) for image in images])


def derivatives(planes: Tensor, smoothing: float, border: str | None) -> tuple[Tensor, Tensor]:
    """Return ∂x and ∂y of (…, H, W) by the 3×3 operator [1, s, 1]ᵀ × [−1, 0, 1], same shape.

    Args:
        planes: the images.
        smoothing: s; 2 is Sobel's operator, 1 Prewitt's.
        border: what lies outside, as for `pad`; ``None`` leaves out the outermost rows and columns.
    """
    around = planes if border is None else pad(planes, (1, 1, 1, 1), border)
    across = around[..., 2:] - around[..., :-2]
    down = around[..., 2:, :] - around[..., :-2, :]
    along_x = across[..., :-2, :] + smoothing * across[..., 1:-1, :] + across[..., 2:, :]
    along_y = down[..., :-2] + smoothing * down[..., 1:-1] + down[..., 2:]
    return along_x, along_y


def ratio_or(numerator: Tensor, denominator: Tensor, otherwise: float) -> Tensor:
    """Divide, with ``otherwise`` where the denominator is 0."""
    empty = denominator == 0
    return torch.where(empty, otherwise, numerator / torch.where(empty, 1.0, denominator))


def pixel_mean(planes: Tensor) -> Tensor:
    """Average over the last two axes."""
    return planes.mean((-2, -1))


def pixel_sum(planes: Tensor) -> Tensor:
    """Sum over the last two axes."""
    return planes.sum((-2, -1))
