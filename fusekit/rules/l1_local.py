"""``l1-local``: DenseFuse's L1-norm strategy (Li and Wu, IEEE Transactions on Image Processing 28(5), 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.errors import RuleError
from fusekit.rules.base import WeightedRule, normalized, spatial_axes


class L1Local(WeightedRule):
    """A weight a pixel: the L1 norm over the channels, averaged over a window, as a share of all sources'.

    Args:
        radius: half the window's side; the paper's 1 averages over 3×3 pixels. Windows are cut at the border.
    """

    working = 2.0

    def __init__(self, radius: int = 1) -> None:
        if int(radius) < 0:
            raise RuleError(f"the rule 'l1-local' needs a radius of 0 or more, not {radius}")
        self.radius = self.reach = int(radius)

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        pool = F.avg_pool3d if len(spatial_axes(features[0])) == 3 else F.avg_pool2d
        side = 2 * self.radius + 1
        activity = [
            pool(feature.float().abs().sum(1, keepdim=True), side, 1, self.radius, count_include_pad=False)
            for feature in features
        ]
        return normalized(torch.stack(activity))
