"""What a fusion rule is, and how it is applied to trees of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fusekit.errors import RuleError
from fusekit.images.tiles import Tile


class FusionRule:
    """Combines the features of N ≥ 2 sources into one.

    Subclasses override `fuse`; rules that are weighted sums derive from `WeightedRule` instead.

    Attributes:
        name: the registered name, where it was built by one.
        options: the keyword arguments that it was built with.
        reach: pixels of features around a fused one that it depends on, 0 for rules that act pixel by pixel; ``None``
            where it depends on the whole image, or nobody looked. Large images are cut into tiles under rules that
            declare it, and under those that have a `survey`.
        multiple: tiles begin at multiples of this many pixels, for rules that compute in blocks.
        working: maps as large as a source's features that the rule holds at most beside these, for each source; for
            the estimate of memory.
    """

    name: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    reach: int | None = None
    multiple: int = 1
    working: float = 4.0

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """Combine N tensors (B, C, *S) of one shape into one of that shape."""
        raise NotImplementedError(f"{type(self).__name__} must define fuse(features)")

    def fuse_with_weights(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Do as `fuse` and also return the weights (N, B, …), or ``None`` for a rule that has none."""
        return self.fuse(features), None

    def __call__(self, features: Sequence[Tensor]) -> Tensor:
        return self.fuse(features)

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        """Return what gathers the rule's statistics of whole images from their tiles, ``None`` where there is no way.

        Args:
            count: N, how many sources there are.
            shape: of a source's features (B, C, H, W).
            memory: bytes that the survey may hold at a time, or what it needs at least.
        """
        return None

    def report(self) -> dict[str, Any]:
        """Return what is worth knowing of how the rule came to its result, JSON-able, for the record."""
        return {}

    def report_of(self, image: int) -> dict[str, Any]:
        """Return the part of the report that concerns one image of the batch."""
        return self.report()


class Survey:
    """Statistics of whole images, gathered tile by tile, from which a rule of finite reach follows.

    In each pass `add` is called once for every tile, and every pixel is in the core of one of them. After a pass
    `finish_pass` tells whether there must be another one; after the last one `rule` is called.

    Attributes:
        reach: pixels around a core that `add` and the rule of `rule` need, the greatest of all passes.
    """

    reach: int = 0

    def preview(self, features: Sequence[Tensor]) -> None:
        """Look at features of the sources shrunk to a few hundred pixels, before the first pass.

        What they show may guide the survey, as in what to look for first; the result must not depend on it.
        """

    def add(self, features: Sequence[Tensor], tile: Tile) -> None:
        """Take note of one tile.

        Args:
            features: of each source (B, C, h, w) in the tile's window; ``tile.inner`` cuts maps of it to the core.
            tile: where the window and its core lie in the image.
        """
        raise NotImplementedError(f"{type(self).__name__} must define add(features, tile)")

    def finish_pass(self) -> bool:
        """End a pass over all tiles; return whether another one is needed."""
        return False

    def rule(self) -> FusionRule:
        """Return the rule that applies what was found; its reach is a number, at most the survey's."""
        raise NotImplementedError(f"{type(self).__name__} must define rule()")


class WeightedRule(FusionRule):
    """A rule of the form Σᵢ wᵢ·Fᵢ. Subclasses override `weights`."""

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        """Return the weights (N, B, 1 or C, 1 or *S), which broadcast against the stacked features (N, B, C, *S)."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(features)")

    @property
    def only_weighs(self) -> bool:
        """Whether `weights` is all that the subclass defines, so that the sum may be taken elsewhere."""
        ours = (WeightedRule.fuse, WeightedRule.fuse_with_weights)
        return (type(self).fuse, type(self).fuse_with_weights) == ours

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        return self.fuse_with_weights(features)[0]

    def fuse_with_weights(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        weights = self.weights(features)
        return weighted_sum(weights, features), weights


def weighted_sum(weights: Tensor, features: Sequence[Tensor]) -> Tensor:
    """Return Σᵢ wᵢ·Fᵢ of N tensors (B, C, *S), in their dtype, for weights (N, B, …) that broadcast against them."""
    total = weights[0].to(features[0].dtype) * features[0]
    for weight, feature in zip(weights[1:], features[1:], strict=True):
        total.addcmul_(weight.to(feature.dtype), feature)
    return total


class FixedWeights(WeightedRule):
    """Weights that are known already, as from a survey.

    Args:
        weights: (N, B, 1 or C, 1, 1).
        facts: what the rule reports.
    """

    reach = 0
    working = 2.0

    def __init__(self, weights: Tensor, facts: Mapping[str, Any] | None = None) -> None:
        self._weights, self._facts = weights, dict(facts or {})

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        return self._weights.to(features[0].device)

    def report(self) -> dict[str, Any]:
        return self._facts


def normalized(activity: Tensor) -> Tensor:
    """Divide non-negative activities (N, …) by their sum over the N sources; where all are 0 the weights are equal."""
    total = activity.sum(0, keepdim=True)
    return torch.where(total > 0, activity / total.clamp_min(torch.finfo(activity.dtype).tiny), 1 / len(activity))


def spatial_axes(feature: Tensor) -> tuple[int, ...]:
    """Return the indices of the spatial axes of (B, C, *S)."""
    return tuple(range(2, feature.dim()))


def fuse_features(rule: FusionRule | Sequence[FusionRule], features: Sequence[Any]) -> tuple[Any, list[Tensor] | None]:
    """Apply ``rule`` to each leaf of the sources' feature trees.

    Args:
        rule: acts on tensors (B, C, *S); or one rule a leaf.
        features: one tree a source (a tensor, or lists, tuples or dicts of tensors), all of one structure.

    Returns:
        the fused tree, and one weights tensor per leaf, or ``None`` for a rule without weights.

    Raises:
        RuleError: the trees or the shapes differ.
    """
    groups, structure = leaf_groups(features)
    rules = [rule] * len(groups) if isinstance(rule, FusionRule) else rule
    fused, weights = [], []
    for each, group in zip(rules, groups, strict=True):
        image, weight = each.fuse_with_weights(group)
        fused.append(image)
        if weight is not None:
            weights.append(weight)
    return pytree.tree_unflatten(fused, structure), weights or None


def leaf_groups(features: Sequence[Any]) -> tuple[list[tuple[Tensor, ...]], pytree.TreeSpec]:
    """Return, for each leaf of the sources' feature trees, that of every source; and the trees' common structure.

    Raises:
        RuleError: the trees or the shapes differ.
    """
    leaves, structures = zip(*(pytree.tree_flatten(each) for each in features), strict=True)
    if any(structure != structures[0] for structure in structures):
        raise RuleError("the sources' features have different structures; a rule acts leaf by leaf on equal ones")
    groups = list(zip(*leaves, strict=True))
    for group in groups:
        if any(leaf.shape != group[0].shape for leaf in group):
            raise RuleError(f"the sources' features have different shapes: {[tuple(leaf.shape) for leaf in group]}")
    return groups, structures[0]
