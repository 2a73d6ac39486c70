"""The encoder ``dran``: the dilated residual attention network of the paper's Section II-A."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import Encoder, OptionError, build_part


def pooling_gate(x: Tensor) -> Tensor:
    """Return relu(up₂(avgpool₂(x))): average over 2×2 blocks, spread back over each block, negative parts cut.

    x is (B, C, H, W). An odd side's last row or column makes blocks of its own, averaged over what is there.
    """
    # Rectified before it is spread, on a quarter of the values; interpolation keeps the memory layout.
    pooled = F.relu(F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False))
    return F.interpolate(pooled, scale_factor=2.0, mode="nearest")[:, :, : x.shape[2], : x.shape[3]]


class Multiscale(nn.Module):
    """3×3 convolutions of several dilations side by side, concatenated and reduced: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        self.reduce = nn.Conv2d(channels * len(self.dilated), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(torch.cat([convolution(x) for convolution in self.dilated], dim=1))


class ResidualAttention(nn.Module):
    """t + gate(t) · (c(t) + c(c(t)) + c(c(c(t)))) with one shared 3×3 convolution c: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, t: Tensor) -> Tensor:
        once = self.shared(t)
        twice = self.shared(once)
        thrice = self.shared(twice)
        return t + pooling_gate(t) * (once + twice + thrice)


class DilatedResidualAttention(Encoder):
    """Encoder of EH-DRAN and DILRAN: (B, 1, H, W) in [0, 1] → (B, channels, H, W), for any H and W.

    Args:
        edge: name of a registered edge operator; it acts on the shallow features, and its output is added.
        channels: C; the paper's 64.
        dilations: of the multiscale convolutions; the paper's 1, 3, 5. Weights do not depend on them.
        edge_gain: factor on the edge operator's output; the paper's 1.

    Source: Zhou et al., BIBM 2024, Section II. The one BatchNorm serves both places, as in the authors' code.
    """

    #: The pooling gates' blocks.
    multiple = 2

    def __init__(
        self, edge: str = "drgo", channels: int = 64, dilations: Sequence[int] = (1, 3, 5), edge_gain: float = 1.0
    ) -> None:
        super().__init__()
        if not all(isinstance(dilation, int) and dilation > 0 for dilation in dilations):
            raise OptionError(f"the encoder 'dran' needs dilations of 1 or more, not {list(dilations)}")
        self.channels = channels
        self.edge_gain = float(edge_gain)
        self.shallow = nn.Conv2d(1, channels, 1)
        self.multiscale = Multiscale(channels, dilations)
        self.residual_attention = ResidualAttention(channels)
        self.norm = nn.BatchNorm2d(channels)
        self.edge = build_part("edge operator", edge, {"channels": channels})
        edges = getattr(self.edge, "reach", None)
        # A dilated convolution, the shared one three times over, and the gates' blocks of two pixels.
        self.reach = None if edges is None else max(max(dilations) + 3 + 1, edges)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.shallow(x)
        gated = x + pooling_gate(x) * shallow
        multiscale = self.norm(self.multiscale(gated))
        deep = self.norm(self.residual_attention(multiscale))
        attended = pooling_gate(gated) * deep + gated
        return attended + self.edge_gain * self.edge(shallow)
