"""The models ``ehdran`` and ``dilran``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusekit.extend import EncoderDecoder, KernelTrial, Reach, Weighing, WeightedRule, build_part, reach_of_parts
from fusekit_ehdran import convert, plugin
from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.fast import algebra
from fusekit_ehdran.fast.compiled import CompiledForm
from fusekit_ehdran.fast.form import InferenceForm

#: Numbers of channels that the Triton kernels compute.
KERNEL_CHANNELS = (16, 32, 64)


class _DilatedResidualAttentionNetwork(EncoderDecoder):
    """What EH-DRAN and DILRAN share: an encoder with an edge operator, and the decoder."""

    def __init__(
        self, encoder: str, edge: str, encoder_options: Mapping[str, Any] | None, negative_slope: float
    ) -> None:
        super().__init__()
        options = dict(encoder_options or {})
        self.encoder = build_part("encoder", encoder, {**options, "edge": edge})
        self.decoder = Decoder(int(options.get("channels", 64)), negative_slope)
        self._inference: InferenceForm | CompiledForm | None = None

    forms = ("plain", "composed", "compile")

    @property
    def form(self) -> str:
        if self.asked_form == "plain" or not self._composable or self.training:
            return "plain"
        return "compile" if self.asked_form == "compile" else "composed"

    @property
    def _composable(self) -> bool:
        return type(self.encoder) is DilatedResidualAttention and type(self.decoder) is Decoder

    def kernels_refusal(self, backend: str) -> str | None:
        if self.asked_form == "plain":
            return "the plain modules were asked for (form plain), which run in torch"
        if self.asked_form == "compile":
            return "the form by torch.compile was asked for (form compile), which brings its own kernels"
        if not self._composable:
            return "the kernels compute the encoder 'dran' with the decoder 'conv3', and these are others"
        if self.encoder.channels not in KERNEL_CHANNELS:
            known = ", ".join(map(str, KERNEL_CHANNELS))
            return f"the kernels compute {known} channels, and the encoder has {self.encoder.channels}"
        return None

    def kernel_trials(self, backend: str) -> Mapping[str, KernelTrial]:
        from fusekit_ehdran.kernels.trials import trials, variant_of

        assert isinstance(self.encoder, DilatedResidualAttention)
        assert isinstance(self.decoder, Decoder)
        return trials(variant_of(self.encoder, self.decoder))

    @property
    def reach(self) -> Reach | None:
        found = reach_of_parts(self.encoder, self.decoder)
        # The inference form computes in small pieces and holds little beside the features.
        return found if found is None or self.form != "composed" else found._replace(working=2.0)

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

    def weigh(self, rule: WeightedRule, features: Sequence[Tensor]) -> Weighing:
        if self._inference_form(*features) is not None and self.backend == "triton":
            from fusekit_ehdran.kernels.norms import weighing_of
            from fusekit_ehdran.kernels.softmax_statistics import share_statistics

            weighing = weighing_of(rule, features, share_statistics)
            if weighing is not None:
                return weighing
        return super().weigh(rule, features)

    def decode_sum(self, weights: Tensor, features: Sequence[Tensor], sources: Sequence[Tensor]) -> Tensor:
        form = self._inference_form(*features)
        if form is None or weights.shape[3:].numel() > 1:
            return super().decode_sum(weights, features, sources)
        return form.decode_sum(weights, features)

    def _inference_form(self, *inputs: Tensor) -> InferenceForm | CompiledForm | None:
        """Return the inference form of the weights as they are now, or ``None`` where the plain modules must run."""
        if self.runs_plain(*inputs):
            return None
        assert isinstance(self.encoder, DilatedResidualAttention)
        assert isinstance(self.decoder, Decoder)
        form = CompiledForm if self.form == "compile" else _form_of(self.backend)
        if type(self._inference) is not form or not self._inference.is_of(self.encoder, self.decoder):
            self._inference = form(self.encoder, self.decoder)
        return self._inference

    def __getstate__(self) -> dict[str, Any]:
        # Copies and worker processes compose their own.
        return {**self.__dict__, "_inference": None}

    def training_forward(self, x: Tensor) -> Tensor:
        """Do as `reconstruct`, in the cheaper order of operations of `fusekit_ehdran.fast.algebra`."""
        if type(self.encoder) is not DilatedResidualAttention:
            return self.reconstruct(x)
        return self.decode(algebra.encode(self.encoder, x), [x])

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)


def _form_of(backend: str) -> type[InferenceForm]:
    """Return the inference form that computes by ``torch`` or by ``triton``."""
    if backend == "torch":
        return InferenceForm
    from fusekit_ehdran.kernels.form import TritonForm

    return TritonForm


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
