"""The transformer blocks of MACTFusion: of one source, and of one source that asks the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit_mactfusion.attention import Attention


class Norm(nn.BatchNorm2d):
    """BatchNorm that can take the statistics of each image alone, as training mode does with one image.

    Args:
        channels: of the features.
        per_image: take them in evaluation mode too.
    """

    def __init__(self, channels: int, *, per_image: bool) -> None:
        super().__init__(channels)
        self.per_image = per_image

    def forward(self, x: Tensor) -> Tensor:
        if self.per_image and not self.training:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(x)


def simam(x: Tensor) -> Tensor:
    """Weight each pixel by how far it is from its channel's mean (Yang et al.: SimAM, ICML 2021); λ = 1e-4."""
    squares = (x - x.mean((2, 3), keepdim=True)).square()
    energy = squares.sum((2, 3), keepdim=True) / max(x.shape[2] * x.shape[3] - 1, 1)
    return x * torch.sigmoid(squares / (4 * (energy + 1e-4)) + 0.5)


class Convolutions(nn.Module):
    """x + project(SimAM(s(norm(x)))) with a depthwise separable convolution s that has a skip of its own."""

    def __init__(self, channels: int, *, per_image: bool) -> None:
        super().__init__()
        self.norm = Norm(channels, per_image=per_image)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.depthwise_norm = Norm(channels, per_image=per_image)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.pointwise_norm = Norm(channels, per_image=per_image)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        hidden = F.gelu(self.depthwise_norm(self.depthwise(normed)))
        separable = self.pointwise_norm(self.pointwise(hidden)) + normed
        return x + self.project(simam(separable))


class SelfBlock(nn.Module):
    """Convolutions, then attention in windows and on the grid: (B, C, H, W) → (B, C, H, W), sides multiples of 8."""

    def __init__(self, channels: int, *, per_image: bool) -> None:
        super().__init__()
        self.convolutions = Convolutions(channels, per_image=per_image)
        self.window, self.grid = Attention(channels, grid=False), Attention(channels, grid=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.convolutions(x).permute(0, 2, 3, 1)
        return self.grid(self.window(tokens)).permute(0, 3, 1, 2)


class Adaptation(nn.Module):
    """Give one source's features the statistics of the other's: two (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.gamma = nn.Conv2d(channels, channels, 3, padding=1)
        self.beta = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Return ``other`` with the mean and deviation of ``own``, both moved pixel by pixel."""
        shared = F.gelu(self.shared(torch.cat([own, other], dim=1)))
        mean = own.mean((2, 3), keepdim=True)
        deviation = (own.var((2, 3), keepdim=True) + 1e-5).sqrt()
        return F.instance_norm(other) * (self.gamma(shared) + deviation) + self.beta(shared) + mean


class CrossBlock(nn.Module):
    """One source's features, with what they find in the other's: two (B, C, H, W) → (B, C, H, W), multiples of 8."""

    def __init__(self, channels: int, *, per_image: bool) -> None:
        super().__init__()
        self.adaptation = Adaptation(channels)
        self.own_convolutions = Convolutions(channels, per_image=per_image)
        self.other_convolutions = Convolutions(channels, per_image=per_image)
        self.window, self.grid = Attention(channels, grid=False), Attention(channels, grid=True)
        self.select = nn.Conv2d(channels, 1, 1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        adapted = self.other_convolutions(self.adaptation(own, other)).permute(0, 2, 3, 1)
        tokens = self.own_convolutions(own).permute(0, 2, 3, 1)
        crossed = self.grid(self.window(tokens, adapted), adapted).permute(0, 3, 1, 2)
        return own + torch.sigmoid(self.select(other)) * (own + crossed)
