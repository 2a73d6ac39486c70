"""Every kernel on inputs of a given size, beside its twin: what the check command runs and times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.fast.algebra import shallow_basis
from fusekit_ehdran.kernels import attention as attentive
from fusekit_ehdran.kernels import multiscale as multi
from fusekit_ehdran.kernels.decode import (
    DecoderWeights,
    convolve,
    convolve_to_taps,
    convolve_to_taps_twin,
    convolve_twin,
    decoder_weights,
    sum_taps,
    sum_taps_twin,
)
from fusekit_ehdran.kernels.edges import add_edges, add_edges_twin, edge_weights
from fusekit_ehdran.kernels.form import attention_weights, multiscale_weights
from fusekit_ehdran.kernels.norms import ShareStatistics, share_statistics_twin
from fusekit_ehdran.kernels.softmax_statistics import share_statistics
from fusekit_ehdran.kernels.trials import random_parts


class Case(NamedTuple):
    """One launch, or several that belong together.

    Attributes:
        name: of the launch in `fusekit_ehdran.kernels.check.roofline.LAUNCHES`.
        kernel: its name in `fusekit_ehdran.kernels.settings.TABLE`.
        run: launches it on inputs that are there already.
        twin: computes the same in torch.
        again: what is timed, where ``run`` does more than to launch.
    """

    name: str
    kernel: str
    run: Callable[[], Tensor]
    twin: Callable[[], Tensor]
    again: Callable[[], Tensor] | None = None

    def error(self) -> float:
        """Return the greatest difference to the twin, as a share of the twin's greatest value."""
        found, wanted = self.run().float(), self.twin().float()
        return ((found - wanted).abs().max() / wanted.abs().max()).item()


@torch.no_grad()
def cases(
    device: torch.device, dtype: torch.dtype, batch: int, height: int, width: int, precision: str = "ieee"
) -> Iterator[Case]:
    """Yield a case for each launch on random images and features."""
    exact, decoder = random_parts(device)
    generator = torch.Generator().manual_seed(2)
    x = torch.rand((batch, 1, height, width), generator=generator).to(device, dtype)
    of_multiscale, of_attention = multiscale_weights(exact, dtype), attention_weights(exact, dtype)
    yield Case(
        "multiscale",
        "multiscale",
        partial(multi.multiscale, x, of_multiscale, precision),
        partial(multi.multiscale_twin, x, of_multiscale),
    )
    t, u = (_features(seed, (batch, 64, height, width), device, dtype) for seed in (3, 4))
    for name, source, factor in (("shared, once", t, 1.0), ("shared, twice", u, 2.0)):
        inputs = (source, of_attention.shared, of_attention.bias, t, factor)
        yield Case(
            name,
            "shared",
            partial(attentive.convolve_and_add, *inputs, precision),
            partial(attentive.convolve_and_add_twin, *inputs),
        )
    inputs_of_attend = (x, u, t, of_attention)
    yield Case(
        "attend",
        "attend",
        partial(attentive.convolve_and_attend, *inputs_of_attend, torch.empty_like(t), precision),
        partial(attentive.convolve_and_attend_twin, *inputs_of_attend),
    )
    assert isinstance(exact.edge, DenseResidualGradient)
    of_edges = edge_weights(exact.edge, shallow_basis(exact)[:, 1:], 1.0, dtype)
    # What adds in place would, run again and again, leave the numbers.
    yield Case(
        "edges",
        "edges",
        lambda: add_edges(t.clone(), x, of_edges, precision),
        lambda: add_edges_twin(t.clone(), x, of_edges),
        partial(add_edges, torch.empty_like(t), x, of_edges, precision),
    )
    yield from _cases_of_decoder(decoder_weights(decoder, dtype), decoder.negative_slope, (t, u), precision)
    yield Case(
        "shares", "shares", lambda: _joined(share_statistics(t)), lambda: _joined(share_statistics_twin(t)),
        lambda: share_statistics(t).squares,
    )  # fmt: skip


def _joined(statistics: ShareStatistics) -> Tensor:
    """Return all statistics in one row, each about as large as 1: sums as means."""
    height, width = statistics.log_sums.shape[1:]
    parts = statistics.squares / (height * width), statistics.row_sums / width, statistics.column_sums / height
    return torch.cat([each.float().flatten() for each in (*parts, statistics.log_sums)])


def _cases_of_decoder(
    weights: DecoderWeights, slope: float, sources: tuple[Tensor, Tensor], precision: str
) -> Iterator[Case]:
    features, batch = sources[0], len(sources[0])
    first = (features, weights.first, weights.first_bias, slope)
    yield Case("convolve", "convolve", partial(convolve, *first, None, precision), partial(convolve_twin, *first))
    second = (features, weights, slope)
    yield Case("taps", "taps", partial(convolve_to_taps, *second, precision), partial(convolve_to_taps_twin, *second))
    generator = torch.Generator().manual_seed(6)
    shares = torch.rand((2, batch, 1), generator=generator).to(features.device)
    blended = (torch.cat(sources), weights.first, weights.first_bias, slope, shares)
    yield Case("blend", "blend", partial(convolve, *blended, precision), partial(convolve_twin, *blended))
    third = (convolve_to_taps_twin(*second), weights.bias, features.dtype)
    yield Case("sum_taps", "sum_taps", partial(sum_taps, *third), partial(sum_taps_twin, *third))


def _features(seed: int, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator(device).manual_seed(seed)
    values = torch.randn(shape, generator=generator, device=device, dtype=torch.float32)
    return values.to(dtype, memory_format=torch.channels_last)
