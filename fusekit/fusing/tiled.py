"""Fusing tile by tile: for each tile encode, rule and decode on a window that reaches as far as the result depends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import record_function
from torch.utils import _pytree as pytree

from fusekit.fusing.plan import Plan, surveys_of
from fusekit.fusing.summary import WeightSummary
from fusekit.images.resample import resize_to
from fusekit.images.tiles import Tile
from fusekit.machine.memory import is_out_of_memory
from fusekit.machine.progress import counted
from fusekit.models.base import BoundRule, EncoderDecoder, Features, FusionModel
from fusekit.models.shapes import pad_to_multiple
from fusekit.registry.contract import calling, fault
from fusekit.rules.base import FusionRule, Survey, leaf_groups

#: Longest side of the sources that surveys look at first.
_PREVIEW = 256


class TiledFusion(NamedTuple):
    """What came of fusing in tiles.

    Attributes:
        image: (B, 1, H, W).
        weights: of the rule, one summary a leaf, or ``None`` for a rule without weights.
        report: of the rule.
        passes: how often the whole image was gone through.
    """

    image: Tensor
    weights: list[WeightSummary] | None
    report: Mapping[str, Any]
    passes: int


def fuse_tiled(model: FusionModel, sources: Sequence[Tensor], rule: FusionRule | None, plan: Plan) -> TiledFusion:
    """Fuse sources tile by tile; the image is that of the whole but for rounding.

    Args:
        model: loaded.
        sources: N tensors (B, 1, H, W), padded to what the model needs.
        rule: that `FusionModel.choose_rule` returned.
        plan: from `fusekit.fusing.plan.make_plan` for these.

    Raises:
        PluginError: the rule's survey gave a rule that reaches further than it said.
    """
    image = torch.empty_like(sources[0])
    if rule is None or not isinstance(model, EncoderDecoder) or isinstance(model, BoundRule):
        for tile in counted("fusing tiles", plan.tiles()):
            tile.write(image, model.run([tile.window(source) for source in sources], rule).image)
        return TiledFusion(image, None, {}, 1)
    encoded = _Kept(model, sources, plan) if plan.keep else _Encoded(model, sources)
    demand = plan.demand
    parts = plan.tiles(demand.rule_reach + demand.reach.decode if plan.keep else None)
    rules, passes = [rule] * len(demand.features.shapes), 0
    if demand.surveyed:
        rules, passes = _surveyed(rule, encoded, parts, plan)
    weights: list[WeightSummary] = []
    report: Mapping[str, Any] = {}
    for tile in counted("fusing tiles", parts):
        fused = model.fuse_encoded(encoded.features(tile), [tile.window(source) for source in sources], rules)
        _summarize(weights, fused.weights or [], tile)
        tile.write(image, fused.image)
        # Of all tiles the same, as it is of the rule that the survey gave.
        report = fused.report[0] if fused.report else report
    return TiledFusion(image, weights or None, report, passes + 1)


class _Encoded:
    """Features of windows, encoded each time that they are asked for."""

    def __init__(self, model: EncoderDecoder, sources: Sequence[Tensor]) -> None:
        self._model, self._sources = model, sources

    def features(self, tile: Tile) -> list[Features]:
        """Return the features of each source in a tile's window."""
        with record_function("fusekit.encode"):
            return self._model.encode_sources([tile.window(source) for source in self._sources])

    def preview(self) -> list[Features]:
        """Return the features of each source shrunk to about `_PREVIEW` pixels a side."""
        multiple, size = self._model.spec.multiple, self._sources[0].shape[2:]
        share = min(_PREVIEW / max(size), 1)
        least = max(multiple, self._model.spec.min_size)
        sides = [max(int(length * share), least) for length in size]
        shrunk = [resize_to(source.float(), sides).to(source.dtype) for source in self._sources]
        with record_function("fusekit.encode"):
            return self._model.encode_sources([pad_to_multiple(source, multiple) for source in shrunk])


class _Kept(_Encoded):
    """Features of windows, cut from those of the whole image, which are encoded tile by tile once."""

    def __init__(self, model: EncoderDecoder, sources: Sequence[Tensor], plan: Plan) -> None:
        super().__init__(model, sources)
        self._whole: list[list[Tensor]] = []
        self._structure: pytree.TreeSpec
        for tile in counted("encoding tiles", plan.tiles(plan.demand.reach.encode)):
            groups, self._structure = leaf_groups(super().features(tile))
            self._whole = self._whole or [[_empty(leaf, plan.demand.size) for leaf in group] for group in groups]
            for wholes, group in zip(self._whole, groups, strict=True):
                for whole, leaf in zip(wholes, group, strict=True):
                    tile.write(whole, leaf)

    def features(self, tile: Tile) -> list[Features]:
        return [
            pytree.tree_unflatten([tile.window(whole) for whole in leaves], self._structure)
            for leaves in zip(*self._whole, strict=True)
        ]


def _empty(leaf: Tensor, size: Sequence[int]) -> Tensor:
    """Return an uninitialised (B, C, *size) like a leaf, in its order in memory."""
    last = leaf.is_contiguous(memory_format=torch.channels_last) and not leaf.is_contiguous()
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty((*leaf.shape[:2], *size), dtype=leaf.dtype, device=leaf.device, memory_format=order)


@contextmanager
def _asking(rule: FusionRule) -> Iterator[None]:
    """Call the surveys of a rule: profilers see it, and what they raise names the rule."""
    with record_function("fusekit.rule"), calling(rule.component, is_out_of_memory):
        yield


def _surveyed(rule: FusionRule, encoded: _Encoded, parts: Sequence[Tile], plan: Plan) -> tuple[list[FusionRule], int]:
    """Go through the image until the rule knows what it must; return a rule for each leaf, and the number of passes."""
    surveys = surveys_of(rule, plan.demand.count, plan.demand.features.shapes, plan.survey_memory)
    assert surveys is not None
    for survey, group in zip(surveys, leaf_groups(encoded.preview())[0], strict=True):
        with _asking(rule):
            survey.preview(group)
    open_ones: list[tuple[int, Survey]] = list(enumerate(surveys))
    passes = 0
    while open_ones:
        for tile in counted(f"looking at the whole image, pass {passes + 1}", parts):
            groups = leaf_groups(encoded.features(tile))[0]
            with _asking(rule):
                for index, survey in open_ones:
                    survey.add(groups[index], tile)
        with _asking(rule):
            open_ones = [(index, survey) for index, survey in open_ones if survey.finish_pass()]
        passes += 1
    with _asking(rule):
        rules = [survey.rule() for survey in surveys]
    for found, survey in zip(rules, surveys, strict=True):
        if found.reach is None or found.reach > survey.reach:
            raise fault(
                rule.component,
                f"has a survey that reaches {survey.reach} pixels, and the rule that it gives {found.reach}",
                f"{type(survey).__name__}.reach must be the greater",
            )
    return rules, passes


def _summarize(summaries: list[WeightSummary], weights: Sequence[Tensor], tile: Tile) -> None:
    """Take the weights (N, B, …) of a tile's window into the summaries, one a leaf; those of whole images once."""
    first = not summaries
    window = tuple(seen.stop - seen.start for seen in tile.seen)
    for index, each in enumerate(weights):
        local = tuple(each.shape[-2:]) == window and window != (1, 1)
        part = tile.inner(each) if local else each
        if first:
            summaries.append(WeightSummary(part))
        elif local:
            summaries[index].add(part)
