"""Whether an image is fused whole or in tiles, and in which: by what it takes of the memory, or as the user says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fusekit.errors import OptionError, RuleError, memory_text, size_text
from fusekit.images.tiles import Reach, Tile, even_sides, tiles
from fusekit.machine.memory import budget_of, is_out_of_memory
from fusekit.models.base import EncoderDecoder, FusionModel
from fusekit.registry.contract import calling
from fusekit.rules.base import FusionRule, Survey, leaf_groups

#: Least and greatest side of the tiles that are chosen: smaller ones are mostly margin, larger ones save little.
LEAST_SIDE, MOST_SIDE = 64, 1024
#: Share of the budget that surveys of whole images may hold.
SURVEY_SHARE = 0.25
#: Bytes a pixel and source that no usual model and rule take: images below the budget by this are not looked at.
_BOUND = 8192
#: Side of the piece of the sources that is encoded to see how large features are.
_PROBE = 64


@dataclass(frozen=True)
class Features:
    """What encoding gives, as far as memory is concerned.

    Attributes:
        shapes: of one source's features, leaf by leaf, for the whole image; none for a model without features.
        bytes_a_pixel: of one source's features.
    """

    shapes: tuple[tuple[int, ...], ...]
    bytes_a_pixel: int


@dataclass(frozen=True)
class Demand:
    """What a set of sources, a model and a rule ask of tiles.

    Attributes:
        size: height and width of the sources, padded to what the model needs.
        count: how many sources there are.
        features: of one source.
        bytes_a_pixel: that fusing takes at its peak.
        reach: of the model.
        rule_reach: of the rule or its survey.
        multiple: rows and columns at which windows begin are multiples of this.
        surveyed: whether the rule needs statistics of the whole image first.
    """

    size: tuple[int, int]
    count: int
    features: Features
    bytes_a_pixel: float
    reach: Reach
    rule_reach: int
    multiple: int
    surveyed: bool

    @property
    def total_reach(self) -> int:
        """Pixels around a tile of the output that it depends on."""
        return self.reach.encode + self.rule_reach + self.reach.decode

    def side_within(self, memory: float) -> int:
        """Return the side of the largest tile whose window takes at most ``memory`` bytes; it may be negative."""
        side = int((max(memory, 0) / self.bytes_a_pixel) ** 0.5) - 2 * self.total_reach
        return side - side % self.multiple

    def memory_of(self, side: int) -> float:
        """Return the bytes that a tile of this side takes with its window."""
        return self.bytes_a_pixel * (side + 2 * self.total_reach) ** 2


@dataclass(frozen=True)
class Plan:
    """How an image is cut into tiles.

    Attributes:
        demand: that it serves.
        sides: height and width of a tile.
        keep: whether all features are kept from one pass to the next.
        memory: budget in bytes.
        survey_memory: what of it the surveys may hold.
    """

    demand: Demand
    sides: tuple[int, int]
    keep: bool
    memory: int
    survey_memory: int

    def tiles(self, reach: int | None = None) -> list[Tile]:
        """Return the tiles, with windows grown by the total reach, or by another one."""
        grown = self.demand.total_reach if reach is None else reach
        return tiles(self.demand.size, self.sides, grown, self.demand.multiple)

    def as_dict(self, passes: int) -> dict[str, Any]:
        """Return the plan for the record; ``passes`` is how often the whole image was gone through."""
        return {
            "side": list(self.sides),
            "number": len(self.tiles()),
            "reach": self.demand.total_reach,
            "passes": passes,
            "features_kept": self.keep,
            "memory": self.memory,
        }


class NotTiled(str):
    """The reason why an image that may take more memory than the budget is fused whole all the same."""


def make_plan(
    model: FusionModel, rule: FusionRule | None, sources: Sequence[Tensor], tile: str | int, memory: int | None
) -> Plan | NotTiled | None:
    """Return how to cut the sources into tiles; ``None`` to fuse them whole, or the reason why that must be.

    Args:
        model: loaded.
        rule: that `FusionModel.choose_rule` returned.
        sources: tensors (B, 1, *S) on the model's device, padded to what the model needs.
        tile: from `parse_tile`.
        memory: from `parse_memory`.

    Raises:
        OptionError: tiles were asked for, and the model cannot be tiled; or the memory does not suffice for a tile.
        RuleError: tiles were asked for, and the rule cannot be tiled.
    """
    budget = budget_of(sources[0].device, memory)
    pixels = sources[0].shape[0] * math.prod(sources[0].shape[2:])
    if tile == "off" or (tile == "auto" and len(sources) * pixels * _BOUND <= budget):
        return None
    reach, name = model.reach, f"the model {model.spec.id!r}"
    if sources[0].dim() != 4:
        return _whole(OptionError(f"{name} was given volumes, which are not tiled"), tile, budget)
    if model.spec.tiling == "whole":
        return _whole(OptionError(f"{name} takes whole images only"), tile, budget)
    if model.spec.tiling == "discouraged" and tile == "auto":
        return _whole(OptionError(f"{name} gives another image in tiles; --tile SIDE asks for them"), tile, budget)
    if reach is None:
        return _whole(OptionError(f"{name} does not say how far its output sees"), tile, budget)
    features = probe(model, sources)
    if features is None:
        return _whole(OptionError(f"{name} has features of another size than its sources"), tile, budget)
    a_pixel = bytes_a_pixel(features, reach, rule, len(sources))
    if tile == "auto" and a_pixel * pixels <= budget:
        return None
    rule_reach = _reach_of(rule, len(sources), features)
    if rule_reach is None:
        called = rule.name or type(rule).__name__ if rule is not None else ""
        return _whole(RuleError(f"the rule {called!r} needs the features of the whole image"), tile, budget)
    demand = Demand(
        size=(int(sources[0].shape[2]), int(sources[0].shape[3])),
        count=len(sources),
        features=features,
        bytes_a_pixel=a_pixel * sources[0].shape[0],
        reach=reach,
        # No window is smaller than what the model takes.
        rule_reach=max(rule_reach, model.spec.min_size - 1 - reach.encode - reach.decode),
        multiple=math.lcm(reach.multiple, model.spec.multiple, 1 if rule is None else rule.multiple),
        surveyed=rule is not None and rule.reach is None,
    )
    return _fitted(demand, tile, budget)


def _fitted(demand: Demand, tile: str | int, budget: int) -> Plan:
    """Return the plan whose tiles and surveys fit the budget; features are kept where there is room for all of them.

    Raises:
        OptionError: there is no room for the smallest tile.
    """
    survey_memory = int(budget * SURVEY_SHARE) if demand.surveyed else 0
    left: float = budget - survey_memory
    least = demand.memory_of(LEAST_SIDE)
    batch = demand.features.shapes[0][0] if demand.features.shapes else 1
    all_features = demand.count * demand.features.bytes_a_pixel * batch * math.prod(demand.size)
    keep = demand.surveyed and all_features + least <= left
    if keep:
        left -= all_features
    if isinstance(tile, int):
        return Plan(demand, (tile, tile), keep, budget, survey_memory)
    if least > left:
        enough = min(least * budget / left, demand.bytes_a_pixel * math.prod(demand.size))
        raise OptionError(
            f"a memory of {memory_text(budget)} does not suffice for {demand.count} sources of "
            f"{size_text(demand.size)} pixels with this model and rule, not even in tiles; give --memory "
            f"{math.ceil(enough / 2**20)}MiB or more"
        )
    most = max(min(demand.side_within(left), MOST_SIDE), demand.multiple)
    return Plan(demand, even_sides(demand.size, most, demand.multiple), keep, budget, survey_memory)


def probe(model: FusionModel, sources: Sequence[Tensor]) -> Features | None:
    """Encode a small piece of the sources to see what features are like; ``None`` where a leaf is of another size.

    Models that are no `EncoderDecoder` count their sources as features, and have no leaves.
    """
    size = sources[0].shape[2:]
    if not isinstance(model, EncoderDecoder):
        return Features((), sources[0].element_size())
    side = max(_PROBE, model.spec.min_size)
    side += -side % model.spec.multiple
    piece = sources[0][:, :, :side, :side]
    leaves = [group[0] for group in leaf_groups([model.encode(piece)])[0]]
    if any(leaf.shape[2:] != piece.shape[2:] for leaf in leaves):
        return None
    shapes = tuple((*leaf.shape[:2], *size) for leaf in leaves)
    return Features(shapes, sum(leaf.shape[1] * leaf.element_size() for leaf in leaves))


def bytes_a_pixel(features: Features, reach: Reach, rule: FusionRule | None, count: int) -> float:
    """Return about how many bytes a pixel the fusion of ``count`` sources takes at its peak."""
    working = max(reach.working, count * rule.working if rule is not None else 0)
    return features.bytes_a_pixel * (count + working)


def surveys_of(rule: FusionRule, count: int, shapes: Sequence[tuple[int, ...]], memory: int) -> list[Survey] | None:
    """Return the rule's survey of each leaf, ``None`` where it has none."""
    with calling(rule.component, is_out_of_memory):
        found = [rule.survey(count, shape, memory // len(shapes)) for shape in shapes]
    surveys = [each for each in found if each is not None]
    return surveys if len(surveys) == len(found) else None


def _reach_of(rule: FusionRule | None, count: int, features: Features) -> int | None:
    """Return the reach of the rule or of its surveys, ``None`` where it has none."""
    if rule is None or not features.shapes:
        return 0
    if rule.reach is not None:
        return rule.reach
    surveys = surveys_of(rule, count, features.shapes, 0)
    return None if surveys is None else max(each.reach for each in surveys)


def _whole(obstacle: OptionError, tile: str | int, budget: int) -> NotTiled:
    """Raise the obstacle where tiles were asked for; otherwise turn it into a note."""
    if tile != "auto":
        raise type(obstacle)(f"{obstacle}, so it cannot be fused in tiles of {tile} pixels; leave the tiles out")
    return NotTiled(f"fused whole, though it may take more than {memory_text(budget)} of memory: {obstacle}")
