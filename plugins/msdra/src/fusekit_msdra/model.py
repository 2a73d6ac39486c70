"""The model ``msdra``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fusekit.extend import ComposableEncoderDecoder
from fusekit_msdra import composed, convert, plugin
from fusekit_msdra.network import CHANNELS, Decoder, Encoder


class MSDRA(ComposableEncoderDecoder):
    """Multiscale double-branch residual attention network (Li et al., Computers in Biology and Medicine 141, 2022).

    Sources are (B, 1, H, W) in [0, 1], 8-bit values divided by 255; any H and W of 2 or more. With the statistics of
    each image every feature depends on the whole of it, so that images are not fused in tiles.

    Args:
        statistics: ``image`` or ``running``, see `fusekit_msdra.network.Encoder`.
        channels: of the features; the authors' 64.
    """

    spec = plugin.MSDRA

    encoder: Encoder
    decoder: Decoder

    def __init__(self, statistics: str = "image", channels: int = CHANNELS) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(statistics, channels), Decoder(channels)

    def composed_encode(self, x: Tensor) -> Tensor:
        return composed.encode(self.encoder, x)

    def composed_decode(self, features: Tensor) -> Tensor:
        return composed.decode(self.decoder, features)

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)
