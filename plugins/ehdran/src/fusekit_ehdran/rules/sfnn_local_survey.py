"""What ``sfnn-local`` takes from the whole image, gathered tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from fusekit.extend import FusionRule, Survey, Tile
from fusekit_ehdran.rules.local_statistics import (
    REACH,
    Statistics,
    detail_power,
    local_activity,
    local_variance,
    loudness,
    parts_of,
    strengths,
    wide_mean,
)


class LocalSurvey(Survey):
    """Two passes: the background, the scale of the activities and the usual variance; then the power of the details.

    The local variance does not depend on the background, but it is computed from what exceeds the quietest place so
    far, as float32 would lose it in large features.

    Args:
        rule_of: makes the rule for parts of an image whose statistics are known.
    """

    reach = REACH

    def __init__(self, rule_of: Callable[[Statistics], FusionRule]) -> None:
        self._rule_of = rule_of
        self._pixels = 0
        self._activity = self._variance = self._power = torch.zeros((), dtype=torch.float64)
        self._quiet: _Quietest | None = None
        self._first: Statistics | None = None
        self._leader: Tensor | None = None

    def add(self, features: Sequence[Tensor], tile: Tile) -> None:
        exact = [feature.float() for feature in features]
        if self._first is not None:
            self._add_details(self._first, exact, tile)
            return
        self._quiet = _quieter(self._quiet, exact, tile)
        activities = [local_activity(each).square() for each in exact]
        self._activity = self._activity.to(exact[0].device) + _sums(activities, tile)
        contents = (feature - self._quiet.feature for feature in exact)
        variances = [local_variance(content, wide_mean(content)) for content in contents]
        self._variance = self._variance.to(exact[0].device) + _sums(variances, tile)
        self._pixels += tile.inner(variances[0])[0].numel()

    def _add_details(self, statistics: Statistics, features: Sequence[Tensor], tile: Tile) -> None:
        _, bases, details = parts_of(features, statistics)
        powers = _sums([detail_power(detail) for detail in details], tile)
        self._power = self._power.to(powers.device) + powers
        if tile.core[0].start == tile.core[1].start == 0:
            self._leader = strengths(bases)[..., :1, :1].argmax(0, keepdim=True)

    def finish_pass(self) -> bool:
        if self._first is not None:
            return False
        assert self._quiet is not None
        scale, variance = (self._activity / self._pixels).sqrt().float(), (self._variance / self._pixels).float()
        # The second pass finds the last two, and does not use them.
        self._first = Statistics(self._quiet.feature, scale, variance, variance, torch.empty(0))
        return True

    def rule(self) -> FusionRule:
        assert self._first is not None
        assert self._leader is not None
        power = (self._power / self._pixels).float()
        return self._rule_of(replace(self._first, power=power, leader=self._leader))


class _Quietest(NamedTuple):
    """Loudness (B, 1, 1, 1) and feature (B, C, 1, 1) of the quietest place so far."""

    loudness: Tensor
    feature: Tensor


def _quieter(so_far: _Quietest | None, features: Sequence[Tensor], tile: Tile) -> _Quietest:
    """Return the quietest place, the tile's core included; the earlier one where two are equal."""
    here = tile.inner(loudness(features)).flatten(1)
    candidates = torch.stack([tile.inner(feature) for feature in features], 2).flatten(2)
    place = here.argmin(1)[:, None, None]
    least = here.gather(1, place[:, 0])[..., None, None]
    feature = candidates.gather(2, place.expand(-1, candidates.shape[1], 1))[..., None]
    if so_far is None:
        return _Quietest(least, feature)
    better = least < so_far.loudness
    return _Quietest(torch.where(better, least, so_far.loudness), torch.where(better, feature, so_far.feature))


def _sums(maps: Sequence[Tensor], tile: Tile) -> Tensor:
    """Return the sum over the tile's core of each source's map (B, 1, h, w): (N, B, 1, 1, 1), float64."""
    return torch.stack([tile.inner(each).sum((2, 3), keepdim=True, dtype=torch.float64) for each in maps])
