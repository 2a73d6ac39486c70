"""The inference form of SwinFusion: the same function as the plain modules, composed once.

- Attention and perceptron are computed for the rows of a window at a time (`fusekit.extend.BandedSwin`).
- Memory is laid out channels last, so that pixels are tokens without a copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import BandedSwin, ComposedConvolution, Composition, SwinBlock
from fusekit_swinfusion.cross import CrossBlock


class InferenceForm(Composition):
    """The network composed: two sources (B, 1, H, W), sides multiples of 8 → (B, 1, H, W).

    Args:
        network: `fusekit_swinfusion.model.SwinFusion`.
    """

    @torch.no_grad()
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        part = network.get_submodule
        self.shallow = [ComposedConvolution.of(each) for each in part("shallow").children()]
        self.norm = part("norm")
        self.extract = [_Blocks(part(f"extract_{source}")) for source in "ab"]
        self.norms_extract = [part(f"norm_extract_{source}") for source in "ab"]
        self.fusing = [_Fusing(each) for each in part("fusing").children()]
        self.norms_fused = [part(f"norm_fused_{source}") for source in "ab"]
        self.merge = ComposedConvolution.of(part("merge"))
        self.reconstruct, self.norm_reconstruct = _Blocks(part("reconstruct")), part("norm_reconstruct")
        self.last = [ComposedConvolution.of(each) for each in part("last").children()]

    def __call__(self, *sources: Tensor) -> Tensor:
        x = torch.cat(sources)
        for convolution in self.shallow:
            x = F.leaky_relu_(convolution(x), 0.2)
        maps = list(self.norm(x.permute(0, 2, 3, 1)).chunk(2))
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
        self.within = [_Blocks(layer.get_submodule(f"within_{source}")) for source in "ab"]
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
