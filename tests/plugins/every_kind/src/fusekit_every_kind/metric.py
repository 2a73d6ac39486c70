"""A metric."""

from __future__ import annotations

from torch import Tensor

from fusekit.extend import SourceMetric


class MeanAbsoluteError(SourceMetric):
    """Mean of |source − fused| over the pixels; 0 for equal images."""

    range = (0.0, 1.0)
    data_range = "[0, 1]"
    look_alikes = "some publish it on grey levels 0 to 255, which is 255 times as much"

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return (source - fused).abs().mean((1, 2, 3))
