"""The model ``pixel``: features are the pixels themselves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fusekit.extend import EncoderDecoder, Reach
from fusekit_classical import plugin


class Pixel(EncoderDecoder):
    """Encoder and decoder that change nothing, so that a rule acts on pixels: (B, 1, *S) → (B, 1, *S)."""

    spec = plugin.PIXEL

    @property
    def reach(self) -> Reach:
        return Reach(0, 0, working=1.0)

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, features: Tensor, sources: Sequence[Tensor] | None = None) -> Tensor:
        return features
