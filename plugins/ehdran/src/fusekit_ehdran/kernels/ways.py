"""The ways to run EH-DRAN on a pair of images, for the check command to time beside each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fusekit_ehdran import composed
from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.inference import InferenceForm
from fusekit_ehdran.kernels.form import TritonDecoder, TritonEncoder, TritonForm
from fusekit_ehdran.kernels.sfnn import greatest_nuclear_norms
from fusekit_ehdran.kernels.shares import share_statistics
from fusekit_ehdran.model import EHDRAN

Way = Callable[[Tensor, Tensor], Tensor]


def ways(device: torch.device, dtype: torch.dtype) -> dict[str, Way]:
    """Return by name what fuses two sources (B, 1, H, W) by the mean of their features, the same function all but one.

    ``eager`` is the plain modules, ``compiled`` torch.compile's form of them, ``compiled, composed`` that of the same
    function in the cheaper order of operations (`fusekit_ehdran.composed`), ``composed`` the inference form in torch.
    ``triton, rule sfnn`` weighs the sources by their nuclear norms instead, and blends them in the decoder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = EHDRAN().eval()
    model = model.to(device, dtype)
    # Torch's stubs of `to` leave the memory format out.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, DilatedResidualAttention)
    assert isinstance(decoder, Decoder)

    def cheaper(x: Tensor) -> Tensor:
        return composed.encode(encoder, x)

    return {
        "eager": _way(encoder, decoder),
        "compiled": torch.compile(_way(encoder, decoder)),
        "compiled, composed": torch.compile(_way(cheaper, decoder)),
        "composed": _way_of(InferenceForm(encoder, decoder)),
        "triton": _way_of(TritonForm(encoder, decoder, graphs=False)),
        "triton, CUDA graphs": _way_of(TritonForm(encoder, decoder, graphs=True)),
        "triton, rule sfnn": _by_sfnn(TritonEncoder(encoder, dtype, "ieee"), TritonDecoder(decoder, dtype, "ieee")),
    }


def _way_of(form: InferenceForm) -> Way:
    return _way(form.encoder, form.decoder)


def _by_sfnn(encode: TritonEncoder, decode: TritonDecoder) -> Way:
    def fuse(first: Tensor, second: Tensor) -> Tensor:
        features = encode(torch.cat([first, second]))
        squares = greatest_nuclear_norms(features, share_statistics)[0].square().view(2, -1, 1)
        return decode(features, squares / squares.sum(0))

    return fuse


def _way(encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> Way:
    def fuse(first: Tensor, second: Tensor) -> Tensor:
        one, other = encode(torch.cat([first, second])).chunk(2)
        return decode((one + other) / 2)

    return fuse
