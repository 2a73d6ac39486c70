"""``gmsd``: gradient magnitude similarity deviation (Xue et al., 2014)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import SourceMetric
from fusekit.metrics.levels import precise

_STABLE = 170 / 255**2


def gradient_similarity_deviation(source: Tensor, fused: Tensor) -> Tensor:
    """Return the standard deviation of the gradient magnitude similarity: two (B, 1, H, W) in [0, 1] → (B,).

    Both images are averaged over 2×2 pixels and halved, an odd last row or column with zeros beside it; Prewitt
    gradients with zeros around the image; (2·g·g' + c) / (g² + g'² + c) with c = 170 for grey levels 0-255.
    """
    squares = _gradient_square(precise(source)), _gradient_square(precise(fused))
    similarity = (2 * (squares[0] * squares[1]).sqrt() + _STABLE) / (squares[0] + squares[1] + _STABLE)
    return similarity.flatten(1).std(1, correction=0)


def _gradient_square(image: Tensor) -> Tensor:
    """Return the squared Prewitt gradient magnitude of the halved image: (B, 1, H, W) → (B, 1, ⌈H/2⌉, ⌈W/2⌉)."""
    height, width = image.shape[2:]
    half = F.avg_pool2d(F.pad(image, (0, width % 2, 0, height % 2)), 2)
    around = F.pad(half, (1, 1, 1, 1))
    along_x = around[..., 2:] - around[..., :-2]
    along_y = around[..., 2:, :] - around[..., :-2, :]
    along_x = along_x[..., :-2, :] + along_x[..., 1:-1, :] + along_x[..., 2:, :]
    along_y = along_y[..., :-2] + along_y[..., 1:-1] + along_y[..., 2:]
    return torch.add(along_x.square(), along_y.square()) / 9


class GradientSimilarityDeviation(SourceMetric):
    """Gradient magnitude similarity deviation, the mean over the sources: 0 where the gradients agree everywhere.

    It is a spread: a similarity that is equally bad everywhere has 0 too. Two constant images differ at the border
    only, where zeros surround them.
    """

    range = (0.0, 0.5)
    data_range = "[0, 1]"
    combine = "mean"
    look_alikes = "With a replicated border, or without halving: differs in the second digit. Some code returns 1 − it."

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return gradient_similarity_deviation(source, fused)
