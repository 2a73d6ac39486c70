"""What a fusion rule is, and how it is applied to trees of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fusekit.errors import RuleError
from fusekit.images.tiles import Tile
from fusekit.registry.contract import Component, component_of
from fusekit.registry.discovery import registries

#: What a rule tells of each image of a batch, JSON-able, for the record; empty where it has nothing to tell.
Reports: TypeAlias = Sequence[Mapping[str, Any]]


class RuleResult(NamedTuple):
    """What came of a rule.

    Attributes:
        features: the fused ones (B, C, *S); of `fuse_features` a tree of them.
        weights: (N, B, …) of a rule that weighs its sources, else ``None``.
        report: one mapping an image of the batch, JSON-able, of how the rule came to its result; or nothing.
    """

    features: Any
    weights: Tensor | None = None
    report: Reports = ()


class FusionRule:
    """Combines the features of N ≥ 2 sources into one.

    Subclasses override `apply`; rules that are weighted sums derive from `WeightedRule` instead. One object may be
    applied by several threads at a time, so `apply` returns all that it has to say and remembers nothing.

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

    @property
    def component(self) -> Component:
        """What messages call the rule."""
        return component_of("fusion rule", self.name, self, registries().fusion_rules)

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        """Combine N tensors (B, C, *S) of one shape into one of that shape; they must stay as they are."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(features)")

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        """Return what gathers the rule's statistics of whole images from their tiles, ``None`` where there is no way.

        Args:
            count: N, how many sources there are.
            shape: of a source's features (B, C, H, W).
            memory: bytes that the survey may hold at a time, or what it needs at least.
        """
        return None


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


class Weighing(NamedTuple):
    """The weights of a rule, and what it reports.

    Attributes:
        weights: (N, B, 1 or C, 1 or *S), which broadcast against the stacked features (N, B, C, *S).
        report: as of `RuleResult`.
    """

    weights: Tensor
    report: Reports = ()


class WeightedRule(FusionRule):
    """A rule of the form Σᵢ wᵢ·Fᵢ. Subclasses override `weights`, or `weigh` if they also report.

    Attributes:
        only_weighs: whether the sum may be taken elsewhere, as in one step with decoding; not where a subclass
            overrides `apply`.
    """

    only_weighs: ClassVar[bool] = True

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "apply" in cls.__dict__:
            cls.only_weighs = False

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        """Return the weights (N, B, 1 or C, 1 or *S), which broadcast against the stacked features (N, B, C, *S)."""
        return self.weigh(features).weights

    def weigh(self, features: Sequence[Tensor]) -> Weighing:
        """Return the weights, and what is worth knowing of how the rule came to them."""
        if type(self).weights is WeightedRule.weights:
            raise NotImplementedError(f"{type(self).__name__} must define weights(features) or weigh(features)")
        return Weighing(self.weights(features))

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        weights, report = self.weigh(features)
        return RuleResult(weighted_sum(weights, features), weights, report)


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
        report: what the rule reports, one mapping an image.
    """

    reach = 0
    working = 2.0

    def __init__(self, weights: Tensor, report: Reports = ()) -> None:
        self._weights, self._report = weights, report

    def weigh(self, features: Sequence[Tensor]) -> Weighing:
        return Weighing(self._weights.to(features[0].device), self._report)


def normalized(activity: Tensor) -> Tensor:
    """Divide non-negative activities (N, …) by their sum over the N sources; where all are 0 the weights are equal."""
    total = activity.sum(0, keepdim=True)
    return torch.where(total > 0, activity / total.clamp_min(torch.finfo(activity.dtype).tiny), 1 / len(activity))


def in_memory_order(features: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[Tensor], Tensor]]:
    """Return views of N tensors (B, C, *S) for arithmetic element by element, and what gives results C back its place.

    Those that lie channels last in memory are seen so: (B, H, W, C). Stacked and reduced as (B, C, H, W) they would be
    copied to another order first, which takes several times as long.
    """
    if all(each.dim() == 4 and each.is_contiguous(memory_format=torch.channels_last) for each in features):
        return [each.permute(0, 2, 3, 1) for each in features], lambda result: result.movedim(-1, -3)
    return list(features), lambda result: result


def spatial_axes(feature: Tensor) -> tuple[int, ...]:
    """Return the indices of the spatial axes of (B, C, *S)."""
    return tuple(range(2, feature.dim()))


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
