"""The inference form of MRSCFusion: the same function as the plain modules, composed once.

- Everything is computed in bands of rows: convolutions (`fusekit_mrscfusion.fast.rows`), of which those of 3×3 are
  Winograd's (`fusekit_mrscfusion.fast.winograd`), and attention with all that follows (`fusekit.extend.BandedSwin`).
  What is joined for a convolution is never written as a whole map.
- A map that is made twice as large before a convolution is convolved as it is, by a third of the multiplications.
- A gradient block's last two 1×1 convolutions are one.
- Memory is laid out channels last, so that pixels are tokens without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import BandedSwin, Composition, GradientBlock, SwinBlock, convolve
from fusekit_mrscfusion.autoencoder import NODES, Decoder, Encoder, Layer
from fusekit_mrscfusion.fast.rows import Convolution1, Convolution3, DoubledConvolution3, by_bands, gathered
from fusekit_mrscfusion.fusion import Branch, FusionBlock


class InferenceForm(Composition):
    """Encoder, fusion blocks and decoder composed.

    Args:
        network: that the parts belong to.
        encoder: of the autoencoder.
        blocks: of the fusion network, a `FusionBlock` a scale.
        decoder: of the autoencoder.
    """

    @torch.no_grad()
    def __init__(self, network: nn.Module, encoder: nn.Module, blocks: nn.ModuleList, decoder: nn.Module) -> None:
        super().__init__(network)
        assert isinstance(encoder, Encoder)
        self.encoder = _Encoder(encoder)
        self.blocks = [_Fusion(each) for each in blocks if isinstance(each, FusionBlock)]
        assert isinstance(decoder, Decoder)
        self.decoder = _Decoder(decoder)

    def fuse(self, features: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Return the fused maps of two sources' features."""
        pairs = zip(self.blocks, *features, strict=True)
        return [block(_last(mri), _last(other)) for block, mri, other in pairs]


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _Fusion:
    """A `FusionBlock` composed: two (B, C, H, W) → (B, C, H, W), channels last."""

    def __init__(self, block: FusionBlock) -> None:
        self.mri, self.other = _Branch(block.mri), _Branch(block.other)
        self.merge = Convolution3.of(block.merge)
        first, second, last = block.reduce
        self.first = Convolution1.of(first)
        self.second, self.last = Convolution3.of(second), Convolution3.of(last)

    def __call__(self, mri: Tensor, other: Tensor) -> Tensor:
        convolved = [self.mri.convolved(mri), self.other.convolved(other)]

        def reduced(rows: slice, place: Tensor) -> Tensor:
            # What is computed pixel by pixel may be computed behind the mirror.
            both = F.relu_(self.first(gathered(convolved, rows, mirrored=True)))
            return F.relu_(self.second(both, place))

        hidden = by_bands(mri.shape, mri.shape[1], reduced, mri)
        attended = [self.mri.attended(mri), self.other.attended(other)]

        def fused(rows: slice, place: Tensor) -> Tensor:
            return F.relu_(self.last.band([hidden], rows, place)).add_(self.merge.band(attended, rows))

        return by_bands(mri.shape, mri.shape[1], fused, mri)


class _Branch:
    """A `Branch` composed."""

    def __init__(self, branch: Branch) -> None:
        self.before, self.behind = Convolution3.of(branch.before), Convolution3.of(branch.behind)
        self.swin = [BandedSwin(each) for each in branch.blocks if isinstance(each, SwinBlock)]
        self.layer, self.gradients = Convolution3.of(branch.layer), _Gradients(branch.gradients)

    def attended(self, x: Tensor) -> Tensor:
        before = by_bands(x.shape, x.shape[1], lambda rows, place: self.before.band([x], rows, place), x)
        tokens = before.permute(0, 2, 3, 1)
        for block in self.swin:
            tokens = block(tokens)
        maps = tokens.permute(0, 3, 1, 2)

        def behind(rows: slice, place: Tensor) -> Tensor:
            return self.behind.band([maps], rows, place).add_(before[:, :, rows]).add_(x[:, :, rows])

        return by_bands(x.shape, x.shape[1], behind, x)

    def convolved(self, x: Tensor) -> Tensor:
        layer = by_bands(x.shape, x.shape[1], lambda rows, place: F.relu_(self.layer.band([x], rows, place)), x)
        return self.gradients(layer)


class _Gradients:
    """A `GradientBlock` composed."""

    def __init__(self, block: GradientBlock) -> None:
        self.first, self.second = Convolution3.of(block.first), Convolution3.of(block.second)
        self.along = [
            each.weight.detach().contiguous(memory_format=torch.channels_last)
            for each in (block.along_x, block.along_y)
        ]
        assert block.dense.bias is not None
        assert block.gradient.bias is not None
        self.project = Convolution1(
            torch.cat([block.dense.weight, block.gradient.weight], dim=1), block.dense.bias + block.gradient.bias
        )

    def __call__(self, x: Tensor) -> Tensor:
        channels = x.shape[1]

        def early(rows: slice, place: Tensor) -> Tensor:
            return F.leaky_relu_(self.first.band([x], rows, place), 0.2)

        first = by_bands(x.shape, channels, early, x)

        def last(rows: slice, place: Tensor) -> Tensor:
            both = gathered([x, first], rows, mirrored=False)
            second = F.leaky_relu_(self.second(both), 0.2)
            own = both[:, :channels].contiguous(memory_format=torch.channels_last)
            edges = [convolve(own, weight, groups=channels).abs_() for weight in self.along]
            inner = both[:, :, 1:-1, 1:-1]
            return F.leaky_relu_(self.project(torch.cat([inner, second, edges[0].add_(edges[1])], dim=1)), 0.1)

        return by_bands(x.shape, channels, last, x)


class _Encoder:
    """An `Encoder` composed: (B, 1, H, W) → four maps, channels last."""

    def __init__(self, encoder: Encoder) -> None:
        self.lift = Convolution1.of(encoder.lift)
        self.blocks = [_Layers(each) for each in encoder.blocks]

    def __call__(self, x: Tensor) -> list[Tensor]:
        maps = _last(F.relu_(self.lift(x)))
        found: list[Tensor] = []
        for block in self.blocks:
            found.append(block([F.max_pool2d(found[-1], 2) if found else maps]))
        return found


class _Decoder:
    """A `Decoder` composed."""

    def __init__(self, decoder: Decoder) -> None:
        self.nodes = [_node(decoder.nodes[f"{scale}{place}"], place) for scale, place in NODES]
        self.last = Convolution1.of(decoder.last)

    def __call__(self, features: Sequence[Tensor]) -> Tensor:
        rows = [[_last(each)] for each in features]
        for (scale, place), node in zip(NODES, self.nodes, strict=True):
            rows[scale - 1].append(node(rows[scale - 1], rows[scale][place - 1]))
        return F.relu_(self.last(rows[0][-1])).contiguous()


def _node(block: nn.Module, place: int) -> _Layers:
    """Return a node that is made of so many maps of its scale, and one of that below."""
    first, last = block.children()
    assert isinstance(first, Layer)
    assert isinstance(last, Layer)
    return _Layers(block, first.in_channels - place * last.out_channels)


class _Layers:
    """A `Block` of maps that are seen as one composed, the last of which may be seen twice as large.

    Args:
        block: that it is composed of.
        doubled: channels of the map that is seen twice as large.
    """

    def __init__(self, block: nn.Module, doubled: int = 0) -> None:
        first, last = block.children()
        assert isinstance(first, Layer)
        assert first.bias is not None
        plain, below = first.weight[:, : first.in_channels - doubled], first.weight[:, first.in_channels - doubled :]
        self.first, self.last = Convolution3(plain, first.bias, mirrored=True), Convolution1.of(last)
        self.below = DoubledConvolution3(below) if doubled else None

    def __call__(self, maps: Sequence[Tensor], doubled: Tensor | None = None) -> Tensor:
        def node(rows: slice, place: Tensor) -> Tensor:
            hidden = self.first.band(maps, rows)
            if doubled is not None and self.below is not None:
                self.below.add_to(hidden, doubled, rows)
            return F.relu_(self.last(F.relu_(hidden)))

        return by_bands(maps[0].shape, len(self.last.weight), node, maps[0])
