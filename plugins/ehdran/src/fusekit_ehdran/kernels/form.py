"""EH-DRAN and DILRAN by Triton kernels: the same function as the inference form in torch, composed once."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.fast.algebra import bias_of, compose_multiscale, shallow_basis
from fusekit_ehdran.fast.edges import edges_of
from fusekit_ehdran.fast.form import InferenceForm, normalization, stacked
from fusekit_ehdran.fast.tiles import Tile
from fusekit_ehdran.kernels.attention import AttentionWeights, attention, taps_first
from fusekit_ehdran.kernels.cuda_graphs import Graphs
from fusekit_ehdran.kernels.decode import decode, decoder_weights
from fusekit_ehdran.kernels.edges import add_edges, edge_weights
from fusekit_ehdran.kernels.multiscale import MultiscaleWeights, compose_taps, multiscale

#: How float32 values are multiplied: exactly, in three products of tensor cores, or in one, which is less precise.
PRECISIONS = ("ieee", "tf32x3", "tf32")


class TritonForm(InferenceForm):
    """Encoder and decoder by kernels; on a GPU sizes that come again are replayed as CUDA graphs.

    Args:
        encoder: a `DilatedResidualAttention` of 16, 32 or 64 channels, in float32 or bfloat16.
        decoder: a `Decoder`.
        precision: one of `PRECISIONS`.
        graphs: whether to record CUDA graphs; by default unless the variable FUSEKIT_CUDA_GRAPHS is 0.
    """

    def __init__(
        self,
        encoder: DilatedResidualAttention,
        decoder: Decoder,
        precision: str = "ieee",
        graphs: bool | None = None,
    ) -> None:
        self.precision = precision
        self.graphs = os.environ.get("FUSEKIT_CUDA_GRAPHS", "1") != "0" if graphs is None else graphs
        super().__init__(encoder, decoder)

    def compose(self, encoder: DilatedResidualAttention, decoder: Decoder) -> None:
        dtype = encoder.shallow.weight.dtype
        self.encoder = Graphs(TritonEncoder(encoder, dtype, self.precision))
        self.decoder = Graphs(TritonDecoder(decoder, dtype, self.precision))
        self.encoder.enabled = self.decoder.enabled = self.graphs
        self.decode_sum = self._decode_sum

    def _decode_sum(self, weights: Tensor, features: Sequence[Tensor]) -> Tensor:
        decode = self.decoder.function if isinstance(self.decoder, Graphs) else self.decoder
        assert isinstance(decode, TritonDecoder)
        return decode(stacked(features), weights[..., 0, 0].float().contiguous())


class TritonEncoder:
    """`DilatedResidualAttention` in evaluation mode: (B, 1, H, W) → (B, C, H, W), channels last.

    Args:
        encoder: the plain module; what it holds is composed and copied.
        dtype: of the features, float32 or bfloat16; sums are in float32.
        precision: one of `PRECISIONS`.
    """

    def __init__(self, encoder: DilatedResidualAttention, dtype: torch.dtype, precision: str) -> None:
        exact = copy.deepcopy(encoder).double()
        basis = shallow_basis(exact)
        self.dtype, self.precision = dtype, precision
        self.multiscale = multiscale_weights(exact, dtype)
        self.attention = attention_weights(exact, dtype)
        self.edges, self.other_edges = None, None
        if type(exact.edge) is DenseResidualGradient and exact.edge_gain != 0:
            self.edges = edge_weights(exact.edge, basis[:, 1:], exact.edge_gain, dtype)
        else:
            self.other_edges = edges_of(encoder, exact, basis[:, 1:], dtype)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype).contiguous()
        features = attention(x, multiscale(x, self.multiscale, self.precision), self.attention, self.precision)
        if self.edges is not None:
            return add_edges(features, x, self.edges, self.precision)
        assert self.other_edges is not None
        height, width = x.shape[2:]
        self.other_edges.add(features, self.other_edges.maps(x), Tile(0, height, 0, width, height, width))
        return features


class TritonDecoder:
    """The decoder C → C → 32 → 1 in evaluation mode: (B, C, H, W) → (B, 1, H, W).

    Args:
        decoder: the plain module; what it holds is copied.
        dtype: to compute in, float32 or bfloat16; sums are in float32.
        precision: one of `PRECISIONS`.
    """

    def __init__(self, decoder: Decoder, dtype: torch.dtype, precision: str) -> None:
        self.dtype, self.precision, self.negative_slope = dtype, precision, decoder.negative_slope
        self.weights = decoder_weights(copy.deepcopy(decoder).double(), dtype)

    def __call__(self, features: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return the image of ``features``, or of N sources' (N·B, C, H, W) weighed by ``shares`` (N, B, 1 or C)."""
        same = features.to(self.dtype, memory_format=torch.channels_last)
        return decode(same, self.weights, self.negative_slope, shares, self.precision).to(features.dtype)


def multiscale_weights(exact: DilatedResidualAttention, dtype: torch.dtype) -> MultiscaleWeights:
    """Return the composed weights of an encoder in float64 for the kernel of the multiscale stage."""
    scale, shift = normalization(exact.norm)
    weights, bias = compose_multiscale(exact.multiscale, shallow_basis(exact))
    dilations = [int(each.dilation[0]) for each in exact.multiscale.dilated if isinstance(each, torch.nn.Conv2d)]
    scaled = [weight * scale[:, None, None, None] for weight in weights]
    return compose_taps(scaled, dilations, bias * scale + shift, dtype)


def attention_weights(exact: DilatedResidualAttention, dtype: torch.dtype) -> AttentionWeights:
    """Return the weights of an encoder in float64 for the kernels of both attentions."""
    scale, shift = normalization(exact.norm)
    shared = exact.residual_attention.shared
    kernel, bias = shared.weight, bias_of(shared)
    _, slope, offset = shallow_basis(exact).unbind(1)
    return AttentionWeights(
        taps_first(kernel).to(dtype),
        taps_first(kernel * scale[:, None, None, None]).to(dtype),
        bias.float(),
        torch.stack([3 * bias * scale, scale, shift, slope, offset]).float(),
    )
