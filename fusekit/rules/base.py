"""What a fusion rule is, and how it is applied to trees of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fusekit.errors import RuleError


class FusionRule:
    """Combines the features of N ≥ 2 sources into one.

    Subclasses override `fuse`; rules that are weighted sums derive from `WeightedRule` instead.

    Attributes:
        name: the registered name, where it was built by one.
        options: the keyword arguments that it was built with.
    """

    name: str = ""
    options: Mapping[str, Any] = MappingProxyType({})

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """Combine N tensors (B, C, *S) of one shape into one of that shape."""
        raise NotImplementedError(f"{type(self).__name__} must define fuse(features)")

    def fuse_with_weights(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Do as `fuse` and also return the weights (N, B, …), or ``None`` for a rule that has none."""
        return self.fuse(features), None

    def __call__(self, features: Sequence[Tensor]) -> Tensor:
        return self.fuse(features)


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


def normalized(activity: Tensor) -> Tensor:
    """Divide non-negative activities (N, …) by their sum over the N sources; where all are 0 the weights are equal."""
    total = activity.sum(0, keepdim=True)
    return torch.where(total > 0, activity / total.clamp_min(torch.finfo(activity.dtype).tiny), 1 / len(activity))


def spatial_axes(feature: Tensor) -> tuple[int, ...]:
    """Return the indices of the spatial axes of (B, C, *S)."""
    return tuple(range(2, feature.dim()))


def fuse_features(rule: FusionRule, features: Sequence[Any]) -> tuple[Any, list[Tensor] | None]:
    """Apply ``rule`` to each leaf of the sources' feature trees.

    Args:
        rule: acts on tensors (B, C, *S).
        features: one tree a source (a tensor, or lists, tuples or dicts of tensors), all of one structure.

    Returns:
        the fused tree, and one weights tensor per leaf, or ``None`` for a rule without weights.

    Raises:
        RuleError: the trees or the shapes differ.
    """
    leaves, structures = zip(*(pytree.tree_flatten(each) for each in features), strict=True)
    if any(structure != structures[0] for structure in structures):
        raise RuleError("the sources' features have different structures; a rule acts leaf by leaf on equal ones")
    fused, weights = [], []
    for group in zip(*leaves, strict=True):
        if any(leaf.shape != group[0].shape for leaf in group):
            raise RuleError(f"the sources' features have different shapes: {[tuple(leaf.shape) for leaf in group]}")
        image, weight = rule.fuse_with_weights(group)
        fused.append(image)
        if weight is not None:
            weights.append(weight)
    return pytree.tree_unflatten(fused, structures[0]), weights or None
