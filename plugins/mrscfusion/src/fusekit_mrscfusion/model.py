"""The models ``mrscfusion`` and ``mrscfusion-autoencoder``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fusekit.extend import BoundRule, EncoderDecoder, Objectives
from fusekit_mrscfusion import convert, plugin
from fusekit_mrscfusion.autoencoder import WIDTHS, Decoder, Encoder
from fusekit_mrscfusion.fusion import FusionBlock
from fusekit_mrscfusion.objective import fusion_loss, reconstruction_loss

#: Grey levels that the networks take and give.
LEVELS = 255.0


class Autoencoder(EncoderDecoder):
    """The autoencoder alone, images (B, 1, H, W) in [0, 1], sides of 16 pixels or more, under any rule.

    Args:
        widths: channels of the four scales of features, fine to coarse.
    """

    spec = plugin.AUTOENCODER

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(widths), Decoder(widths)

    def encode(self, x: Tensor) -> list[Tensor]:
        return self.encoder(LEVELS * x)

    def decode(self, features: Sequence[Tensor], sources: Sequence[Tensor] | None = None) -> Tensor:
        return self.decoder(features) / LEVELS

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
        """Return `reconstruction_loss` of each image; the weights of ``objectives`` are left aside."""
        x = torch.cat(list(sources))
        return reconstruction_loss(x, self.reconstruct(x))

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Of what both networks are in, the autoencoder.
        return {key: value for key, value in convert.from_authors(state).items() if not key.startswith("fusion.")}


class MRSCFusion(BoundRule):
    """MRSCFusion (Xie et al., TIM 2023): an MRI first and a CT, PET or SPECT second, (B, 1, H, W) in [0, 1], any H, W.

    The autoencoder is not trained with the fusion network: its parameters ask for no gradients.

    Args:
        widths: channels of the four scales of features, fine to coarse.
    """

    spec = plugin.MRSCFUSION

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(widths).requires_grad_(False), Decoder(widths).requires_grad_(False)
        self.fusion = nn.ModuleList(FusionBlock(width) for width in widths)

    def encode(self, x: Tensor) -> list[Tensor]:
        return self.encoder(LEVELS * x)

    def encode_sources(self, sources: Sequence[Tensor]) -> list[list[Tensor]]:
        # Both sources go through the same encoder: as one batch.
        scales = [each.chunk(len(sources)) for each in self.encode(torch.cat(list(sources)))]
        return [list(each) for each in zip(*scales, strict=True)]

    def fuse_bound(self, features: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        pairs = zip(self.fusion, *features, strict=True)
        return [block(mri, other) for block, mri, other in pairs]

    def decode(self, features: Sequence[Tensor], sources: Sequence[Tensor] | None = None) -> Tensor:
        return self.decoder(features) / LEVELS

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the authors' `fusion_loss`; of ``objectives`` the weight of the gradient term counts."""
        features = self.encode_sources(sources)
        fused = self.fuse_bound(features)
        return fusion_loss(sources, self.decode(fused), features, fused, objectives.gradient_weight)

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)
