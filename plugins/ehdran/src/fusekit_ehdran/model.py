"""The models ``ehdran`` and ``dilran``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.errors import OptionError
from fusekit.model import Decoder as DecoderBase
from fusekit.model import EncoderDecoder
from fusekit.plugins import registries
from fusekit_ehdran import composed, convert, plugin
from fusekit_ehdran.encoder import DilatedResidualAttention


class Decoder(DecoderBase):
    """Three 3×3 convolutions C → C → 32 → 1 with leaky ReLU between: (B, C, H, W) → (B, 1, H, W).

    Args:
        channels: C.
        negative_slope: of the leaky ReLU; EH-DRAN's 0.2. With 1 there is no activation, which is DILRAN's decoder.
    """

    def __init__(self, channels: int = 64, negative_slope: float = 0.2) -> None:
        super().__init__()
        widths = (channels, channels, 32, 1)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.negative_slope = negative_slope

    def forward(self, features: Tensor) -> Tensor:
        first, second, last = self.convolutions
        hidden = F.leaky_relu(first(features), self.negative_slope)
        hidden = F.leaky_relu(second(hidden), self.negative_slope)
        return last(hidden)


class LinearDecoder(Decoder):
    """DILRAN's decoder: the same convolutions without activations.

    Args:
        channels: C.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__(channels, negative_slope=1.0)


class _DilatedResidualAttentionNetwork(EncoderDecoder):
    """What EH-DRAN and DILRAN share: an encoder with an edge operator, and the decoder."""

    def __init__(
        self, encoder: str, edge: str, encoder_options: Mapping[str, Any] | None, negative_slope: float
    ) -> None:
        super().__init__()
        encoder_class = registries().encoders.load(encoder)
        options = dict(encoder_options or {})
        try:
            self.encoder = encoder_class(edge=edge, **options)
        except TypeError as error:
            raise OptionError(f"the encoder {encoder!r} does not take these options: {error}") from error
        self.decoder = Decoder(int(options.get("channels", 64)), negative_slope)

    def training_forward(self, x: Tensor) -> Tensor:
        """Do as `reconstruct`, in the cheaper order of operations of `fusekit_ehdran.composed`."""
        if type(self.encoder) is not DilatedResidualAttention:
            return self.reconstruct(x)
        return self.decode(composed.encode(self.encoder, x), [x])

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)


class EHDRAN(_DilatedResidualAttentionNetwork):
    """Edge-enhanced dilated residual attention network (Zhou et al., BIBM 2024).

    Sources are (B, 1, H, W) in [0, 1] after per-image min-max; any H and W of 2 or more.

    Args:
        encoder: name of a registered encoder.
        edge: name of a registered edge operator.
        encoder_options: further keyword arguments of the encoder.
    """

    spec = plugin.EHDRAN

    def __init__(
        self, encoder: str = "dran", edge: str = "drgo", encoder_options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(encoder, edge, encoder_options, negative_slope=0.2)


class DILRAN(_DilatedResidualAttentionNetwork):
    """The network that EH-DRAN grew from: no edge operator, and a decoder without activations.

    Args: as `EHDRAN`.
    """

    spec = plugin.DILRAN

    def __init__(
        self, encoder: str = "dran", edge: str = "none", encoder_options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(encoder, edge, encoder_options, negative_slope=1.0)
