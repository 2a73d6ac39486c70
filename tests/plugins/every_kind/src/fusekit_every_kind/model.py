"""A model made of registered parts."""

from __future__ import annotations

from fusekit.extend import EncoderDecoder, Reach, build_part, reach_of_parts
from fusekit_every_kind.plugin import MODEL


class EdgePair(EncoderDecoder):
    """Fuses grey values together with their edges, by any rule.

    Args:
        encoder: name of a registered encoder.
        edge: name of the edge operator that the encoder uses.
        decoder: name of a registered decoder.
    """

    spec = MODEL

    def __init__(self, encoder: str = "with-edges", edge: str = "central", decoder: str = "grey") -> None:
        super().__init__()
        self.encoder = build_part("encoder", encoder, {"edge": edge})
        self.decoder = build_part("decoder", decoder, {"channels": self.encoder.channels})

    @property
    def reach(self) -> Reach | None:
        return reach_of_parts(self.encoder, self.decoder)
