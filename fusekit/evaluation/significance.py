"""Paired tests: is one method better than another on the same images, or was it luck?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Up to this many pairs all sign patterns are tried; beyond it, a fixed number of random ones.
_EXACT = 13
_DRAWS = 20_000
# Signs that are drawn at once, so that thousands of images need no more memory than hundreds.
_AT_ONCE = 4_000_000


def randomization_test(first: Sequence[float], second: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p-value of the mean of paired differences under random exchange within pairs.

    Fisher's randomisation test (The Design of Experiments, 1935): if the methods did not differ, each difference might
    as well have had the other sign. Exact up to 13 pairs; beyond, of 20,000 seeded draws with the observed one counted.

    Args:
        first: a value an image.
        second: the other method's values, in the same order.
        seed: of the draws.

    Returns:
        p in (0, 1]; 1 where all differences are 0. Values that are infinite alike do not differ, and an infinite
        difference counts as one that is larger than all finite ones together.
    """
    return randomization_tests([(first, second)], seed)[0]


def randomization_tests(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], seed: int = 0) -> list[float]:
    """Return the p-values of several `randomization_test` on the same images, which share their draws."""
    differences = np.stack([_differences(*pair) for pair in pairs], axis=1)
    observed = np.abs(differences.sum(0)) * (1 - 1e-12)
    count = len(differences)
    if count <= _EXACT:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        found = (np.abs((1.0 - 2 * patterns) @ differences) >= observed).mean(0)
    else:
        random, extreme = np.random.default_rng(seed), np.zeros(len(pairs))
        for start in range(0, _DRAWS, step := max(1, _AT_ONCE // count)):
            signs = random.integers(0, 2, (min(step, _DRAWS - start), count)) * 2.0 - 1
            extreme += np.count_nonzero(np.abs(signs @ differences) >= observed, axis=0)
        found = (extreme + 1) / (_DRAWS + 1)
    return [float(each) for each in found]


def _differences(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    beyond = 1 + 2 * float(np.abs(differences[np.isfinite(differences)]).sum())
    return np.nan_to_num(differences, nan=0.0, posinf=beyond, neginf=-beyond)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the given order (Holm, Scand. Journal of Statistics 6, 1979)."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - position)))
        adjusted[index] = running
    return adjusted
