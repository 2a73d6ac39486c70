"""``qncie``: nonlinear correlation information entropy of the sources and the fused image (Wang et al., 2008)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from fusekit.metrics.base import AllSourcesMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.mi import mutual_information


def nonlinear_correlation_entropy(images: Sequence[Tensor]) -> Tensor:
    """Return 1 + Σ (λ/K)·log₂₅₆(λ/K): K images (B, 1, H, W) → (B,).

    λ are the eigenvalues of the matrix of the images' nonlinear correlations. Two images' nonlinear correlation is
    their mutual information to the base 256; an image's with itself is 1.
    """
    count = len(images)
    matrix = torch.eye(count, dtype=torch.float64).repeat(len(images[0]), 1, 1)
    for i, j in combinations(range(count), 2):
        matrix[:, i, j] = matrix[:, j, i] = mutual_information(images[i], images[j]).cpu().double() / 8
    shares = torch.linalg.eigvalsh(matrix).clamp_min(0) / count
    return 1 - torch.special.entr(shares).sum(1) / math.log(256)


class NonlinearCorrelation(AllSourcesMetric):
    """Nonlinear correlation information entropy of all sources and the fused image together.

    1 where all determine each other and use all 256 levels alike; 1 − log₂₅₆(N + 1), 0.802 for two sources, where
    none tells anything of another, as where all are constant. The sources' correlation with each other counts too, so
    compare values of the same sources only.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, rounded"
    look_alikes = "Without the stretch to 0-255 that published code applies first: the same for 8-bit images."

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return nonlinear_correlation_entropy([*sources, fused]).to(precise(fused))
