"""How much of a fused image is one source: what a mean over the sources hides, as half of it is perfect in a copy."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TypedDict

#: The metrics that copying is told by; they are computed whether they were asked for or not.
TOLD_BY = ("cc", "vif")
#: From this mean on a method is said to be nearly a copy of one source.
NEARLY_A_COPY = 0.8


class Sharing(TypedDict):
    """What one fused image has of each source.

    Keys:
        copying: see `copying_of`; ``None`` where it is not defined.
        correlation: Pearson's correlation with each source, the metric ``cc``, in [−1, 1].
        vif: visual information fidelity of each source, the metric ``vif``; its least is that of the worse source.
    """

    copying: float | None
    correlation: list[float]
    vif: list[float]


def copying_of(correlation: Sequence[float], between: Sequence[Sequence[float]]) -> float | None:
    """Return how far a fused image is on the way from serving all sources alike to a copy of one: a number in [0, 1].

    Be r_i its correlation with source i, b the source with the greatest |r_i| and w that with the least. Then copying
    is (|r_b| − |r_w|) / (1 − min_i |r_bi|), at most 1, where r_bi is the correlation of the sources b and i. The
    denominator is the gap that an exact copy of b has, so that a copy is 1 whatever the sources have in common, and
    stays so as a negative, with another contrast, and nearly with noise. What correlates alike with all sources has 0.

    Args:
        correlation: N correlations with the sources; 0 with a constant one, as `fusekit.metrics.cc` says.
        between: N×N correlations of the sources with each other; on the diagonal 0 for a constant one, which has
            nothing to copy and is left out.

    Returns:
        the number, or ``None`` where fewer than two sources vary; 0 where no two of them differ.
    """
    varied = [index for index in range(len(correlation)) if between[index][index] > 0]
    if len(varied) < 2:
        return None
    served = {index: abs(correlation[index]) for index in varied}
    best = max(varied, key=lambda index: served[index])
    apart = 1 - min(abs(between[best][index]) for index in varied)
    gap = served[best] - min(served.values())
    # Sources that are one picture leave only rounding to tell them by.
    return 0.0 if apart < 1e-9 else min(1.0, gap / apart)


def mean_of(found: Iterable[float | None]) -> float | None:
    """Return the mean of what is defined, or ``None`` where nothing is."""
    values = [each for each in found if each is not None]
    return statistics.fmean(values) if values else None
