"""``mi``: mutual information with the sources (Qu, Zhang and Yan, 2002), and its scalings."""

from __future__ import annotations

import math

from torch import Tensor

from fusekit.metrics.base import SourceMetric
from fusekit.metrics.levels import entropies


def mutual_information(source: Tensor, fused: Tensor) -> Tensor:
    """Return I(S; F) = H(S) + H(F) − H(S, F) in bits, of 256×256 grey levels: two (B, 1, H, W) in [0, 1] → (B,)."""
    h_source, h_fused, h_joint = entropies(source, fused)
    # Rounding may leave a negative 1e-16 where the images are independent.
    return (h_source + h_fused - h_joint).clamp_min(0)


class MutualInformation(SourceMetric):
    """Mutual information of the fused image with each source, in bits, summed over the sources.

    A constant image shares nothing: 0. With itself an image shares its entropy. The sum grows with the number of
    sources, so that values for different numbers of sources do not compare.
    """

    range = (0.0, math.inf)
    data_range = "grey levels 0-255, rounded"
    combine = "sum"
    look_alikes = (
        "mi.nats: in nats (VIFB), ln 2 times this value. mi.mean: the mean, half of it for two sources. Fewer bins: "
        "lower. An 8-bit sum in a widespread MATLAB toolbox merges levels 254 and 255: up to a fifth higher on images "
        "that saturate."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return mutual_information(source, fused)


class MutualInformationInNats(MutualInformation):
    """``mi`` in nats, ln 2 times its value, summed over the sources: VIFB's unit."""

    look_alikes = "mi: in bits. EH-DRAN's authors give the mean of the two sources in nats: half of this value."

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return mutual_information(source, fused) * math.log(2)


class MeanMutualInformation(MutualInformation):
    """``mi`` in bits, the mean over the sources, so that values for different numbers of sources compare."""

    combine = "mean"
    range = (0.0, 8.0)
    look_alikes = "mi: the sum. EH-DRAN's authors give the mean in nats: ln 2 times this value."
