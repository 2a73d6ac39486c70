"""The models ``ehdran`` and ``dilran``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusekit.model import EncoderDecoder, Reach, build_part, reach_of_parts
from fusekit_ehdran import composed, convert, plugin
from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.inference import InferenceForm


class _DilatedResidualAttentionNetwork(EncoderDecoder):
    """What EH-DRAN and DILRAN share: an encoder with an edge operator, and the decoder."""

    def __init__(
        self, encoder: str, edge: str, encoder_options: Mapping[str, Any] | None, negative_slope: float
    ) -> None:
        super().__init__()
        options = dict(encoder_options or {})
        self.encoder = build_part("encoder", encoder, {**options, "edge": edge})
        self.decoder = Decoder(int(options.get("channels", 64)), negative_slope)
        self._inference: InferenceForm | None = None

    @property
    def form(self) -> str:
        composable = type(self.encoder) is DilatedResidualAttention and type(self.decoder) is Decoder
        return "composed" if self.optimized and composable and not self.training else "plain"

    @property
    def reach(self) -> Reach | None:
        found = reach_of_parts(self.encoder, self.decoder)
        # The inference form computes in small pieces and holds little beside the features.
        return found if found is None or self.form == "plain" else found._replace(working=2.0)

    def encode(self, x: Tensor) -> Tensor:
        form = self._inference_form(x)
        return self.encoder(x) if form is None else form.encoder(x)

    def encode_sources(self, sources: Sequence[Tensor]) -> list[Tensor]:
        form = self._inference_form(*sources)
        if form is None:
            return [self.encoder(source) for source in sources]
        return list(form.encoder(torch.cat(list(sources))).chunk(len(sources)))

    def decode(self, features: Tensor, sources: Sequence[Tensor] | None = None) -> Tensor:
        form = self._inference_form(features)
        return self.decoder(features) if form is None else form.decoder(features)

    def _inference_form(self, *inputs: Tensor) -> InferenceForm | None:
        """Return the inference form of the weights as they are now, or ``None`` where the plain modules must run."""
        if self.form == "plain":
            return None
        if torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, *self.parameters())):
            return None
        assert isinstance(self.encoder, DilatedResidualAttention)
        assert isinstance(self.decoder, Decoder)
        if self._inference is None or not self._inference.is_of(self.encoder, self.decoder):
            self._inference = InferenceForm(self.encoder, self.decoder)
        return self._inference

    def __getstate__(self) -> dict[str, Any]:
        # Copies and worker processes compose their own.
        return {**self.__dict__, "_inference": None}

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
