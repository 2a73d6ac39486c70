"""The models ``mrscfusion`` and ``mrscfusion-autoencoder``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusekit.extend import BoundRule, EncoderDecoder, Objectives
from fusekit_mrscfusion import convert, plugin
from fusekit_mrscfusion.autoencoder import WIDTHS, Decoder, Encoder
from fusekit_mrscfusion.fast.form import InferenceForm
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
        shift_single_windows: whether the middle block of the attention moves its windows too where the coarsest map is
            one window high or wide, as for images of 64 pixels. Networks that were trained on larger ones do so.
    """

    spec = plugin.MRSCFUSION
    forms = ("plain", "composed")

    def __init__(self, widths: Sequence[int] = WIDTHS, shift_single_windows: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(widths), Decoder(widths)
        self.encoder.requires_grad_(False)
        self.decoder.requires_grad_(False)
        self.fusion = nn.ModuleList(FusionBlock(width, shift_single=shift_single_windows) for width in widths)
        self._inference: InferenceForm | None = None

    def encode(self, x: Tensor) -> list[Tensor]:
        form = self._inference_form(x)
        return (self.encoder if form is None else form.encoder)(LEVELS * x)

    def encode_sources(self, sources: Sequence[Tensor]) -> list[list[Tensor]]:
        # Both sources go through the same encoder: as one batch.
        scales = [each.chunk(len(sources)) for each in self.encode(torch.cat(list(sources)))]
        return [list(each) for each in zip(*scales, strict=True)]

    def fuse_bound(self, features: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        form = self._inference_form(*features[0])
        if form is not None:
            return form.fuse(features)
        pairs = zip(self.fusion, *features, strict=True)
        return [block(mri, other) for block, mri, other in pairs]

    def decode(self, features: Sequence[Tensor], sources: Sequence[Tensor] | None = None) -> Tensor:
        form = self._inference_form(*features)
        return (self.decoder if form is None else form.decoder)(features) / LEVELS

    def _inference_form(self, *inputs: Tensor) -> InferenceForm | None:
        """Return the inference form of the weights as they are now, or ``None`` where the plain modules must run."""
        if self.runs_plain(*inputs):
            return None
        form = self._inference
        if form is None or not form.is_of(self):
            form = self._inference = InferenceForm(self, self.encoder, self.fusion, self.decoder)
        return form

    def __getstate__(self) -> dict[str, Any]:
        # Copies and worker processes compose their own.
        return {**self.__dict__, "_inference": None}

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the authors' `fusion_loss`; of ``objectives`` the weight of the gradient term counts."""
        features = self.encode_sources(sources)
        fused = self.fuse_bound(features)
        return fusion_loss(sources, self.decode(fused), features, fused, objectives.gradient_weight)

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)
