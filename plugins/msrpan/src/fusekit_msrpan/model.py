"""The model ``msrpan``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fusekit.extend import ComposableEncoderDecoder, Reach
from fusekit_msrpan import composed, convert, plugin
from fusekit_msrpan.network import CHANNELS, Decoder, Encoder


class MSRPAN(ComposableEncoderDecoder):
    """Multiscale residual pyramid attention network (Fu et al., Biomedical Signal Processing and Control 66, 2021).

    Sources are (B, 1, H, W) in [0, 1], 8-bit values divided by 255. H and W are padded to multiples of 16.

    Args:
        channels: of the features; the authors' 64.
    """

    spec = plugin.MSRPAN

    encoder: Encoder
    decoder: Decoder

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels), Decoder(channels)

    @property
    def reach(self) -> Reach:
        encoder, decoder = self.encoder, self.decoder
        working = 2.0 if self.form == "composed" else 6.0
        return Reach(encoder.reach, decoder.reach, encoder.multiple, working)

    def composed_encode(self, x: Tensor) -> Tensor:
        return composed.encode(self.encoder, x)

    def composed_decode(self, features: Tensor) -> Tensor:
        return composed.decode(self.decoder, features)

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)
