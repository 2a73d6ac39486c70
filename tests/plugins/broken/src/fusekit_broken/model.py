"""Models that use the broken parts, or are broken themselves."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fusekit.extend import EncoderDecoder, build_part


class OfParts(EncoderDecoder):
    """Keeps the first channel of the features of an encoder."""

    def __init__(self, encoder: str, edge: str = "none") -> None:
        super().__init__()
        self.encoder = build_part("encoder", encoder, {"edge": edge})

    def decode(self, features: Any, sources: Any = None) -> Tensor:
        return features[:, :1]


class CannotBeMade(EncoderDecoder):
    """Looks for what is not there."""

    def __init__(self) -> None:
        super().__init__()
        raise FileNotFoundError("no such table")


class NotFinite(EncoderDecoder):
    """Divides by zero."""

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, features: Any, sources: Any = None) -> Tensor:
        return features / 0
