"""What an edge operator is, and the base of those that are fixed derivative filters."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EdgeOperator(nn.Module):
    """Extracts edges from shallow features: (B, C, *S) → (B, C, *S). The built-in ones take two spatial axes.

    Args:
        channels: C, which trainable operators need.

    Attributes:
        reach: pixels around an edge that it depends on; ``None`` where nobody looked, and then images are not tiled.
        ignores_constants: whether it treats all channels alike and is blind to what is constant, so that its answer to
            w·F + b is |w| times that to F, for any numbers w and b; faster forms of encoders make use of it.
    """

    reach: int | None = None
    ignores_constants: bool = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels


class GradientOperator(EdgeOperator):
    """|∂x F| + |∂y F| channel by channel, for a 3×3 derivative filter and its transpose, the border repeated.

    The filter is scaled so that a ramp of slope 1 a pixel answers with 1, whatever the operator, which makes operators
    comparable. Subclasses set `kernel`, the derivative along x (columns), as it is printed in textbooks.
    """

    reach = 1
    ignores_constants = True
    kernel: ClassVar[tuple[tuple[float, float, float], ...]]
    filter_x: Tensor
    filter_y: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        kernel = torch.tensor(self.kernel)
        kernel = kernel / kernel.abs().sum()
        # Not persistent: a fixed filter is code, not weights.
        self.register_buffer("filter_x", kernel[None, None], persistent=False)
        self.register_buffer("filter_y", kernel.T.contiguous()[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(x, self.filter_x).abs() + depthwise(x, self.filter_y).abs()


def depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter each channel of (B, C, H, W) with one (1, 1, 3, 3) kernel, the border repeated."""
    channels = x.shape[1]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel.to(x.dtype).expand(channels, 1, 3, 3), groups=channels)
