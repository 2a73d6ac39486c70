"""The model ``composed``: any registered encoder, edge operator and decoder put together, for any rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusekit.errors import OptionError, PluginError
from fusekit.images.tiles import Reach
from fusekit.models.base import EncoderDecoder
from fusekit.models.parts import build_part, reach_of_parts
from fusekit.models.specs import COMPOSED


class Composed(EncoderDecoder):
    """An encoder-decoder of registered parts; sources are (B, 1, H, W) in [0, 1] after per-image min-max.

    Args:
        encoder: name of a registered encoder.
        edge: name of a registered edge operator, which the encoder puts in its place.
        decoder: name of a registered decoder; it is constructed with ``channels``, the encoder's.
        encoder_options: further keyword arguments of the encoder.
        decoder_options: further keyword arguments of the decoder.

    Raises:
        UnknownNameError: no part has such a name.
        OptionError: a part is not named, or does not take its options.
        PluginError: the encoder does not say how many channels its features have.
    """

    spec = COMPOSED

    def __init__(
        self,
        encoder: str = "",
        edge: str = "none",
        decoder: str = "",
        encoder_options: Mapping[str, Any] | None = None,
        decoder_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not encoder or not decoder:
            raise OptionError(
                "the model 'composed' is made of an encoder and a decoder; name both, as in "
                "fusekit train --encoder NAME --decoder NAME, or load weights that say which"
            )
        self.encoder = build_part("encoder", encoder, {**(encoder_options or {}), "edge": edge})
        channels = getattr(self.encoder, "channels", None)
        several = isinstance(channels, tuple) and all(isinstance(each, int) for each in channels)
        if not isinstance(channels, int) and not several:
            raise PluginError(
                f"the encoder {encoder!r} does not say how many channels its features have; "
                f"{type(self.encoder).__name__} must set self.channels, one number or one a level"
            )
        self.decoder = build_part("decoder", decoder, {**(decoder_options or {}), "channels": channels})

    @property
    def reach(self) -> Reach | None:
        return reach_of_parts(self.encoder, self.decoder)
