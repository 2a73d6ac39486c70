"""The model ``msdra``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fusekit.extend import EncoderDecoder
from fusekit_msdra import composed, convert, plugin
from fusekit_msdra.network import CHANNELS, Decoder, Encoder


class MSDRA(EncoderDecoder):
    """Multiscale double-branch residual attention network (Li et al., Computers in Biology and Medicine 141, 2022).

    Sources are (B, 1, H, W) in [0, 1], 8-bit values divided by 255; any H and W of 2 or more. With the statistics of
    each image every feature depends on the whole of it, so that images are not fused in tiles.

    Args:
        statistics: ``image`` or ``running``, see `fusekit_msdra.network.Encoder`.
        channels: of the features; the authors' 64.
    """

    spec = plugin.MSDRA
    forms = ("plain", "composed")

    encoder: Encoder
    decoder: Decoder

    def __init__(self, statistics: str = "image", channels: int = CHANNELS) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(statistics, channels), Decoder(channels)

    @property
    def form(self) -> str:
        return "plain" if self.asked_form == "plain" or self.training else "composed"

    def encode(self, x: Tensor) -> Tensor:
        return composed.encode(self.encoder, x) if self._composes(x) else self.encoder(x)

    def encode_sources(self, sources: Sequence[Tensor]) -> list[Tensor]:
        return list(self.encode(torch.cat(list(sources))).chunk(len(sources)))

    def decode(self, features: Tensor, sources: Sequence[Tensor] | None = None) -> Tensor:
        return composed.decode(self.decoder, features) if self._composes(features) else self.decoder(features)

    def _composes(self, given: Tensor) -> bool:
        """Return whether the composed form runs: not in training mode, and not where gradients are asked for."""
        graded = torch.is_grad_enabled() and any(each.requires_grad for each in (given, *self.parameters()))
        return self.form == "composed" and not graded

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)
