"""``l1``: one weight a source, its share of the features' L1 norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.images.tiles import Tile
from fusekit.rules.base import FixedWeights, Survey, WeightedRule, normalized


class L1(WeightedRule):
    """Weights wᵢ = ‖Fᵢ‖₁ / Σⱼ ‖Fⱼ‖₁, one scalar a source and image; equal where all features are 0."""

    working = 2.0

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        axes = tuple(range(1, features[0].dim()))
        norms = torch.stack([feature.float().abs().mean(axes, keepdim=True) for feature in features])
        return normalized(norms)

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey:
        return _Norms()


class _Norms(Survey):
    """Sums the L1 norms of tiles."""

    def __init__(self) -> None:
        self.norms: Tensor | None = None

    def add(self, features: Sequence[Tensor], tile: Tile) -> None:
        cores = [tile.inner(feature).float().abs() for feature in features]
        norms = torch.stack([core.sum((1, 2, 3), keepdim=True, dtype=torch.float64) for core in cores])
        self.norms = norms if self.norms is None else self.norms + norms

    def rule(self) -> FixedWeights:
        assert self.norms is not None
        return FixedWeights(normalized(self.norms).float())
