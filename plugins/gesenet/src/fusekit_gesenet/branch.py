"""What GeSeNet computes of one source: shallow features, the gradient block, the region mask module."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import GradientBlock

#: Layers of the region mask module, and channels of each.
LAYERS, CHANNELS = 4, 32


class Masks(NamedTuple):
    """Where and in which channels the region mask module computes: hard in evaluation, sampled in training.

    Attributes:
        spatial: 1 where masked channels are computed, (B, 1, H, W).
        dense: 1 for channels that are computed everywhere, (1, 32, layers); the others are the masked ones.
    """

    spatial: Tensor
    dense: Tensor


class RegionMask(nn.Module):
    """Four convolutions of which some channels are computed inside a mask only: (B, 32, H, W), even sides.

    With the spatial mask s and, for each layer, the dense channels d and the masked ones q = 1 − d, layer k is
    ReLU(c(f·d')·(d + q·s) + c(f·q')·s), where c is its convolution, f the layer before and d', q' that one's channels;
    the first layer takes all of x for dense. The layers are joined, weighted by channel attention, and added to x.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv2d(CHANNELS, 8, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 2, 3, stride=2, padding=1, output_padding=1),
        )
        #: For each channel and layer the logits of being dense and of being masked.
        self.channel_logits = nn.Parameter(torch.rand(1, CHANNELS, LAYERS, 2))
        self.layers = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False) for _ in range(LAYERS))
        self.join = nn.Conv2d(LAYERS * CHANNELS, CHANNELS, 1)
        self.squeeze = nn.Conv2d(CHANNELS, 2, 1)
        self.excite = nn.Conv2d(2, CHANNELS, 1)

    def masks(self, x: Tensor) -> Masks:
        """Return the masks for x: the more probable side in evaluation; in training Gumbel-softmax samples."""
        logits = self.spatial(x)
        if self.training:
            # In float32: of the noise, bfloat16 would round a part to infinity.
            spatial, channels = (
                F.gumbel_softmax(each.float(), dim=axis).to(x.dtype)
                for each, axis in ((logits, 1), (self.channel_logits, 3))
            )
            return Masks(spatial[:, 1:], channels[..., 0])
        return Masks((logits[:, 1:] > logits[:, :1]).to(x.dtype), self.dense_channels.to(x.dtype))

    @property
    def dense_channels(self) -> Tensor:
        """Which channels are dense in evaluation, (1, 32, layers)."""
        return self.channel_logits[..., 0] > self.channel_logits[..., 1]

    def forward(self, x: Tensor) -> Tensor:
        spatial, dense = self.masks(x)
        features = [x]
        before: Tensor | None = None
        for layer, channels in zip(self.layers, dense.unbind(2), strict=True):
            here = channels[..., None, None]
            open_ = here + (1 - here) * spatial
            if before is None:
                out = layer(x) * open_
            else:
                out = layer(features[-1] * before) * open_ + layer(features[-1] * (1 - before)) * spatial
            features.append(F.relu(out))
            before = here
        joined = self.join(torch.cat(features[1:], dim=1))
        return joined * self.attention(joined) + x

    def attention(self, joined: Tensor) -> Tensor:
        """Return the weights of the channels (B, 32, 1, 1) from their means over the image."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(joined.mean((2, 3), keepdim=True)))))


class Branch(nn.Module):
    """All of one source: (B, 1, H, W) → edges (B, 32, H, W) and region features (B, 32, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow = nn.Conv2d(1, CHANNELS // 2, 3, padding=1)
        self.edges = GradientBlock(CHANNELS // 2, CHANNELS)
        self.region = RegionMask()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        edges = self.edges(F.leaky_relu(self.shallow(x), 0.2))
        return edges, self.region(edges)
