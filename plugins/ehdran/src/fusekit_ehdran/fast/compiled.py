"""The form of EH-DRAN and DILRAN that torch.compile makes of the composed order of operations.

Its operations between convolutions are fused. The first image of a size waits some seconds, and a C++ compiler must be
there. It computes whole images; `fusekit_ehdran.fast.form` need not compute background. docs/speed.md compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fusekit.extend import DeviceError, one_line, weighted_sum
from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.fast import algebra


class CompiledForm:
    """Encoder and decoder compiled; they go on reading the weights of the plain modules.

    Args:
        encoder: a `DilatedResidualAttention` in evaluation mode.
        decoder: a `Decoder`.
    """

    def __init__(self, encoder: DilatedResidualAttention, decoder: Decoder) -> None:
        def encode(x: Tensor) -> Tensor:
            return algebra.encode(encoder, x)

        self._encoder, self._decoder = encoder, decoder
        self._encode: Callable[[Tensor], Tensor] = torch.compile(encode)
        self._decode: Callable[[Tensor], Tensor] = torch.compile(decoder.forward)

    def is_of(self, encoder: DilatedResidualAttention, decoder: Decoder) -> bool:
        """Return whether the form was made of these modules."""
        return self._encoder is encoder and self._decoder is decoder

    def encoder(self, x: Tensor) -> Tensor:
        """Return the features (B, C, H, W) of x (B, 1, H, W), channels last."""
        return _run(self._encode, x.contiguous(memory_format=torch.channels_last))

    def decoder(self, features: Tensor) -> Tensor:
        """Return the image (B, 1, H, W) of features (B, C, H, W)."""
        return _run(self._decode, features.contiguous(memory_format=torch.channels_last))

    def decode_sum(self, weights: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Return the image of Σᵢ wᵢ·Fᵢ."""
        return self.decoder(weighted_sum(weights, features))


def _run(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    try:
        return function(x)
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException

        if not isinstance(error, TorchDynamoException):
            raise
        raise DeviceError(
            f"torch.compile cannot compile the model here: {one_line(error)}; on a CPU it needs a C++ compiler; "
            "or take the form composed"
        ) from error
