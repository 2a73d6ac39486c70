"""The inference form of SwinFusion: the same function as the plain modules, composed once.

- Attention and perceptron are computed for the rows of a window at a time (`fusekit.extend.BandedSwin`).
- Memory is laid out channels last, so that pixels are tokens without a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import BandedSwin, ComposedConvolution, Composition, SwinBlock
from fusekit_swinfusion.cross import CrossBlock

if TYPE_CHECKING:
    from fusekit_swinfusion.model import SwinFusion


class InferenceForm(Composition):
    """The network composed: two sources (B, 1, H, W), sides multiples of 8 → (B, 1, H, W)."""

    @torch.no_grad()
    def __init__(self, network: SwinFusion) -> None:
        super().__init__(network)
        self.shallow = [ComposedConvolution.of(each) for each in network.shallow]
        self.norm = network.norm
        self.extract = [_Blocks(network.extract_a), _Blocks(network.extract_b)]
        self.norms_extract = [network.norm_extract_a, network.norm_extract_b]
        self.fusing = [_Fusing(each) for each in network.fusing]
        self.norms_fused = [network.norm_fused_a, network.norm_fused_b]
        self.merge = ComposedConvolution.of(network.merge)
        self.reconstruct, self.norm_reconstruct = _Blocks(network.reconstruct), network.norm_reconstruct
        self.last = [ComposedConvolution.of(each) for each in network.last]

    def __call__(self, *sources: Tensor) -> Tensor:
        x = torch.cat(sources)
        for convolution in self.shallow:
            x = F.leaky_relu_(convolution(x), 0.2)
        maps = self.norm(x.permute(0, 2, 3, 1)).chunk(2)
        maps = [blocks(each) for blocks, each in zip(self.extract, maps, strict=True)]
        maps = [self.norm(norm(each)) for norm, each in zip(self.norms_extract, maps, strict=True)]
        for layer in self.fusing:
            maps = layer(maps)
        both = torch.cat([norm(each) for norm, each in zip(self.norms_fused, maps, strict=True)], -1)
        x = F.leaky_relu_(self.merge(both.permute(0, 3, 1, 2)), 0.2)
        x = self.norm_reconstruct(self.reconstruct(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        for convolution in self.last[:-1]:
            x = F.leaky_relu_(convolution(x), 0.2)
        return self.last[-1](x).contiguous()


class _Blocks:
    """Blocks of one map, one after the other."""

    def __init__(self, blocks: nn.Module) -> None:
        self.blocks = [BandedSwin(each) for each in blocks.children() if isinstance(each, SwinBlock)]

    def __call__(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class _Fusing:
    """A layer of fusion: blocks within each of two maps, then across them."""

    def __init__(self, layer: nn.Module) -> None:
        within = (layer.get_submodule("within_a"), layer.get_submodule("within_b"))
        self.within = [_Blocks(each) for each in within]
        across = layer.get_submodule("across").children()
        self.across = [
            (BandedSwin(each.a, each.b.norm_attention), BandedSwin(each.b, each.a.norm_attention))
            for each in across
            if isinstance(each, CrossBlock)
        ]

    def __call__(self, maps: list[Tensor]) -> list[Tensor]:
        a, b = (blocks(each) for blocks, each in zip(self.within, maps, strict=True))
        for of_a, of_b in self.across:
            a, b = of_a(a, b), of_b(b, a)
        return [a, b]
