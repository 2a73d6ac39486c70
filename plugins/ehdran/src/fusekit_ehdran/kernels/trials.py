"""What proves the kernels on a device: each family beside its torch twin, on the embedded sample and random weights.

``auto`` takes the kernels only where all of this passes (`fusekit.extend.FusionModel.kernel_trials`). A launch gets
what the twins of those before it gave, so that each is told by itself, and a family's launches are compared together,
each as a share of its twin's greatest value.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fusekit.extend import KernelTrial
from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.fast import algebra
from fusekit_ehdran.kernels import attention, decode, edges, multiscale, norms
from fusekit_ehdran.kernels.form import attention_weights, multiscale_weights
from fusekit_ehdran.kernels.softmax_statistics import share_statistics
from fusekit_ehdran.rules import nuclear

#: Greatest error of a kernel as a share of the greatest value: float32 sums in another order; bfloat16 rounds results
#: to 8 bits, and what one launch hands to the next.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
#: Of norms by matrix products, which hold to 1e-5, as a share of each exact norm; they are float32 in either dtype.
NORM_TOLERANCE = 5e-5


class Variant(NamedTuple):
    """What of a model its kernels are compiled for, or told.

    Attributes:
        channels: of the features.
        dilations: of the multiscale convolutions.
        edges: whether the kernel of DRGO runs.
        negative_slope: of the decoder.
    """

    channels: int = 64
    dilations: tuple[int, ...] = (1, 3, 5)
    edges: bool = True
    negative_slope: float = 0.2


def variant_of(encoder: DilatedResidualAttention, decoder: Decoder) -> Variant:
    """Return the variant that `fusekit_ehdran.kernels.form.TritonForm` runs for these parts."""
    assert isinstance(encoder.channels, int)
    drgo = type(encoder.edge) is DenseResidualGradient and encoder.edge_gain != 0
    convolutions = [each for each in encoder.multiscale.dilated if isinstance(each, nn.Conv2d)]
    dilations = tuple(int(each.dilation[0]) for each in convolutions)
    return Variant(encoder.channels, dilations, drgo, decoder.negative_slope)


@functools.cache
def trials(variant: Variant) -> Mapping[str, KernelTrial]:
    """Return the trial of each family of kernels; names say what they are compiled for."""
    families = {
        f"multiscale {'·'.join(map(str, variant.dilations))}": prove_multiscale,
        "attention": prove_attention,
        "edges": prove_edges,
        "decode": prove_decode,
        "softmax statistics": prove_softmax_statistics,
        "norms": prove_norms,
    }
    if not variant.edges:
        del families["edges"]
    return {
        f"{name} of {variant.channels} channels": functools.partial(each, variant) for name, each in families.items()
    }


def prove_multiscale(variant: Variant, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Run the multiscale stage on images (B, 1, H, W)."""
    weights = multiscale_weights(random_parts(x.device, variant)[0], x.dtype)
    return _beside(x.dtype, (multiscale.multiscale(x, weights), multiscale.multiscale_twin(x, weights)))


def prove_attention(variant: Variant, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Run both attentions, launch by launch, on images (B, 1, H, W)."""
    exact, _ = random_parts(x.device, variant)
    weights, t = attention_weights(exact, x.dtype), multiscale.multiscale_twin(x, multiscale_weights(exact, x.dtype))
    once = (t, weights.shared, weights.bias, t, 1.0)
    u = attention.convolve_and_add_twin(*once)
    twice = (u, weights.shared, weights.bias, t, 2.0)
    v = attention.convolve_and_add_twin(*twice)
    return _beside(
        x.dtype,
        (attention.convolve_and_add(*once), u),
        (attention.convolve_and_add(*twice), v),
        (
            attention.convolve_and_attend(x, v, t, weights, torch.empty_like(t)),
            attention.convolve_and_attend_twin(x, v, t, weights),
        ),
    )


def prove_edges(variant: Variant, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Add DRGO's features of images (B, 1, H, W) to others."""
    exact, _ = random_parts(x.device, variant)
    assert isinstance(exact.edge, DenseResidualGradient)
    weights = edges.edge_weights(exact.edge, algebra.shallow_basis(exact)[:, 1:], 1.0, x.dtype)
    t = multiscale.multiscale_twin(x, multiscale_weights(exact, x.dtype))
    return _beside(x.dtype, (edges.add_edges(t.clone(), x, weights), edges.add_edges_twin(t.clone(), x, weights)))


def prove_decode(variant: Variant, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Decode the features of images (B, 1, H, W), launch by launch, alone and blended."""
    features, decoder = _features(variant, x)
    weights, slope = decode.decoder_weights(decoder, x.dtype), variant.negative_slope
    alone = (features, weights.first, weights.first_bias, slope)
    shares = torch.linspace(0.3, 0.7, len(x), device=x.device).view(-1, 1, 1)
    hidden = decode.convolve_twin(*alone)
    planes = decode.convolve_to_taps_twin(hidden, weights, slope)
    return _beside(
        x.dtype,
        (decode.convolve(*alone), hidden),
        (decode.convolve(*alone, shares), decode.convolve_twin(*alone, shares)),
        (decode.convolve_to_taps(hidden, weights, slope), planes),
        (decode.sum_taps(planes, weights.bias, x.dtype), decode.sum_taps_twin(planes, weights.bias, x.dtype)),
    )


def prove_softmax_statistics(variant: Variant, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Sum the softmax of the features of images (B, 1, H, W)."""
    features, _ = _features(variant, x)
    found, wanted = share_statistics(features), norms.share_statistics_twin(features)
    # Sums of float32 terms, whatever the dtype of the features.
    return _beside(torch.float32, *zip(found, wanted, strict=True))


def prove_norms(variant: Variant, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Find the nuclear norms of the features of images (B, 1, H, W), all of them and the greatest of each image."""
    features, _ = _features(variant, x)
    exact = nuclear.nuclear_norms([features])[0].double()
    greatest, _ = norms.greatest_nuclear_norms(features, share_statistics)
    shares = norms.all_nuclear_norms(features) / exact, greatest[:, None] / exact.amax(1, keepdim=True)
    found = torch.cat(shares, dim=1)
    return found, torch.ones_like(found), NORM_TOLERANCE


def random_parts(device: torch.device, variant: Variant | None = None) -> tuple[DilatedResidualAttention, Decoder]:
    """Return encoder and decoder in float64 with random weights, those of the BatchNorm among them."""
    variant = variant or Variant()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        encoder = DilatedResidualAttention(
            "drgo" if variant.edges else "none", variant.channels, dilations=variant.dilations
        )
        decoder = Decoder(variant.channels, variant.negative_slope)
        norm = encoder.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return encoder.eval().double().to(device), decoder.eval().double().to(device)


def _features(variant: Variant, x: Tensor) -> tuple[Tensor, Decoder]:
    """Return the features of images in their dtype, by the encoder in float64 and torch, and its decoder."""
    encoder, decoder = random_parts(x.device, variant)
    features = algebra.encode(encoder, x.double())
    return features.to(x.dtype, memory_format=torch.channels_last), decoder


def _beside(dtype: torch.dtype, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, float]:
    """Return results and references in a row each, as shares of each reference's greatest value, and the tolerance."""
    scales = [wanted.double().abs().max() for _, wanted in pairs]
    found, wanted = (
        torch.cat([(pair[side].double() / scale).flatten() for pair, scale in zip(pairs, scales, strict=True)])
        for side in (0, 1)
    )
    return found, wanted, TOLERANCES[dtype]
