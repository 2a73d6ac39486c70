"""The inference form of GeSeNet: the same function as the plain modules in evaluation mode, composed once.

- A layer of the region mask module is one convolution instead of two. Outside the mask s masked channels f·q' are zero,
  so c(f·d') and c(f) differ at those pixels alone that are outside the mask and have a neighbour inside it; there
  c(f·q') is taken off again. Channels are sorted, dense ones first, so that masked ones are a slice.
- The gradient block's 1×1 convolutions become one, and its gradient filters one depthwise convolution.
- Memory is laid out channels last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import ComposedConvolution, ComposedGradient, Composition
from fusekit_gesenet.branch import LAYERS, Branch, RegionMask
from fusekit_gesenet.fusion import Decoder, Refinement


class InferenceForm(Composition):
    """The network composed: two sources (B, 1, H, W), even sides → (B, 1, H, W).

    Args:
        first, second: the branches.
        refinement, decoder: of both.
    """

    @torch.no_grad()
    def __init__(self, network: nn.Module, first: Branch, second: Branch, refinement: Refinement, decoder: Decoder):
        super().__init__(network)
        self.first, self.second = _Branch(first), _Branch(second)
        self.scale = [ComposedConvolution.of(each) for each in refinement.scale]
        self.shift = [ComposedConvolution.of(each) for each in refinement.shift]
        self.mix = ComposedConvolution.of(refinement.mix)
        self.decode, self.last = ComposedConvolution.of(decoder.first), ComposedConvolution.of(decoder.last)

    def __call__(self, *sources: Tensor) -> Tensor:
        first_edges, first = self.first(sources[0])
        second_edges, second = self.second(sources[1])
        scale = self.scale[1](F.leaky_relu_(self.scale[0](second_edges), 0.1))
        refined = F.leaky_relu_(self.mix(torch.cat([first, second, scale], dim=1)), 0.01)
        refined += self.shift[1](F.leaky_relu_(self.shift[0](second_edges), 0.1))
        hidden = F.leaky_relu_(self.decode(torch.cat([refined, first_edges], dim=1)), 0.2)
        return self.last(hidden).tanh_().div_(2).add_(0.5)


class _Branch:
    """A `Branch` composed: (B, 1, H, W) → edges and region features."""

    def __init__(self, branch: Branch) -> None:
        self.shallow = ComposedConvolution.of(branch.shallow)
        self.edges = ComposedGradient(branch.edges)
        self.region = _Region(branch.region)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # An image of one channel lies both ways, and its convolution comes channels first.
        shallow = self.shallow(x).contiguous(memory_format=torch.channels_last)
        edges = self.edges(F.leaky_relu_(shallow, 0.2))
        return edges, self.region(edges)


class _Region:
    """A `RegionMask` composed."""

    def __init__(self, region: RegionMask) -> None:
        first, _, _, second, _, self.logits = region.spatial
        self.spatial = [ComposedConvolution.of(first), ComposedConvolution.of(second)]
        self.attention = region.attention
        dense = region.dense_channels[0]
        order = [torch.argsort(~dense[:, layer], stable=True) for layer in range(LAYERS)]
        self.dense = [int(dense[:, layer].sum()) for layer in range(LAYERS)]
        self.layers, self.masked = [], []
        before = torch.arange(len(dense), device=dense.device)
        for index, layer in enumerate(region.layers):
            assert isinstance(layer, nn.Conv2d)
            weight = layer.weight[order[index]][:, before]
            self.layers.append(ComposedConvolution(weight, None))
            # Of masked inputs and dense outputs: (9·inputs, outputs), taps first.
            split = len(dense) if index == 0 else self.dense[index - 1]
            self.masked.append(weight[: self.dense[index], split:].permute(2, 3, 1, 0).flatten(0, 2))
            before = order[index]
        columns = torch.cat([index * len(dense) + each for index, each in enumerate(order)])
        self.join = ComposedConvolution(region.join.weight[:, columns], region.join.bias)

    def __call__(self, x: Tensor) -> Tensor:
        mask = self._mask(x)
        border = None if bool(mask.all()) else _border(mask)
        layers, features = [], x
        for index, layer in enumerate(self.layers):
            out = layer(features)
            if border is not None:
                out[:, self.dense[index] :] *= mask
                if index > 0:
                    masked = features[:, self.dense[index - 1] :]
                    images, rows, columns = border
                    out.permute(0, 2, 3, 1)[images, rows, columns, : self.dense[index]] -= (
                        _patches(masked, border) @ self.masked[index]
                    )
            features = F.relu_(out)
            layers.append(features)
        joined = self.join(torch.cat(layers, dim=1))
        return joined.mul_(self.attention(joined)).add_(x)

    def _mask(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(F.relu_(self.spatial[0](x)), 2)
        logits = self.logits(F.relu_(self.spatial[1](pooled)))
        return (logits[:, 1:] > logits[:, :1]).to(x.dtype)


def _border(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, row and column of the pixels outside a mask (B, 1, H, W) that have a neighbour inside it."""
    images, rows, columns = ((F.max_pool2d(mask, 3, 1, 1) > mask)[:, 0]).nonzero(as_tuple=True)
    return images, rows, columns


def _patches(features: Tensor, places: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the 3×3 neighbourhoods of places in (B, C, H, W), zero outside the image: (places, 9·C), taps first."""
    images, rows, columns = places
    padded = F.pad(features, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    taps = [padded[images, rows + down, columns + right] for down in range(3) for right in range(3)]
    return torch.cat(taps, dim=1)
