"""A rule's weights in a few numbers, whether they come whole or tile by tile."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from fusekit.images.image import Array


class WeightSummary:
    """Mean, least and greatest weight of each source; each source's value where it is one number.

    Args:
        weights: (N, B, …), of a whole image or of the first part of one.
    """

    def __init__(self, weights: Tensor) -> None:
        values = _by_source(weights)
        self._single = values.shape[1] == 1
        varies = any(side != 1 for side in weights.shape[3:])
        self._per = "channel" if not varies else "pixel" if weights.shape[2] == 1 else "element"
        self._sum, self._count = values.sum(1, dtype=np.float64), values.shape[1]
        self._least, self._most = values.min(1), values.max(1)

    def add(self, weights: Tensor) -> None:
        """Take in another part of the same image."""
        values = _by_source(weights)
        self._single, self._count = False, self._count + values.shape[1]
        self._sum = self._sum + values.sum(1, dtype=np.float64)
        self._least = np.minimum(self._least, values.min(1))
        self._most = np.maximum(self._most, values.max(1))

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for the record."""
        mean = [round(float(each), 6) for each in self._sum / self._count]
        if self._single:
            return {"per": "source", "mean": mean}
        return {
            "per": self._per,
            "mean": mean,
            "min": [round(float(each), 6) for each in self._least],
            "max": [round(float(each), 6) for each in self._most],
        }


def _by_source(weights: Tensor) -> Array:
    values: Array = weights.detach().float().cpu().flatten(1).numpy()
    return values
