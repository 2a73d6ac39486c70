"""``viff``: visual information fidelity for fusion (Han et al., 2013)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import AllSourcesMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.vif import gain_maps

_NOISE = 0.005 * 255**2
_WEIGHTS = (1 / 2.15, 0.0, 0.15 / 2.15, 1 / 2.15)


def fusion_fidelity(sources: Tensor, fused: Tensor) -> Tensor:
    """Return the fidelity to the chosen sources, weighted over four scales: (N, B, H, W), (B, H, W) → (B,).

    Each window is judged by the source with the least gain there, the last of equal ones. A scale on which the chosen
    sources are constant counts as 1.
    """
    value = torch.zeros_like(fused[:, 0, 0])
    for weight, (gain, left, variance) in zip(_WEIGHTS, gain_maps(sources, fused), strict=True):
        chosen = len(gain) - 1 - gain.flip(0).min(0, keepdim=True).indices
        kept = torch.log1p(gain.square() * variance / (left + _NOISE)).gather(0, chosen)[0].sum((1, 2))
        there = torch.log1p(variance / _NOISE).gather(0, chosen)[0].sum((1, 2))
        value = value + weight * (kept / there).where(there > 0, 1)
    return value


class FusionInformationFidelity(AllSourcesMetric):
    """Visual information fidelity for fusion: in each window of that source whose contrast the fused image keeps least.

    Where F equals every source it is 1; with N > 2 sources the least gain of all decides. The weights of the four
    scales, 1, 0, 0.15 and 1, over 2.15, are those of its authors' code.
    """

    range = (0.0, math.inf)
    data_range = "grey levels 0-255, not rounded; noise variance 0.005 · 255²"
    look_alikes = (
        "CDDFuse and tables after it print vif under this name, often above 1 where viff is 0.4. For colour its "
        "authors take the luminance of Lab."
    )

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return fusion_fidelity(torch.stack([precise(source)[:, 0] for source in sources]), precise(fused)[:, 0])
