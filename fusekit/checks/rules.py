"""Checks of fusion rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusekit.checks.base import (
    SIZES,
    Findings,
    accelerators,
    check_json,
    check_reach,
    check_threads,
    check_unchanged,
    difference,
    is_finite,
)
from fusekit.errors import DeviceError, RuleError
from fusekit.images.tiles import tiles
from fusekit.models.contract import checked_result, checked_weighing
from fusekit.models.parts import build_rule
from fusekit.registry.contract import registered
from fusekit.registry.discovery import registries
from fusekit.rules.base import FusionRule, RuleResult, WeightedRule, weighted_sum

_CHANNELS = 3
#: Bytes that a survey may hold.
_MEMORY = 1 << 26


def check_rule(name: str, options: Mapping[str, Any] | None = None, counts: Sequence[int] = (2, 3)) -> list[str]:
    """Check a fusion rule against its contract.

    Results of several numbers of sources and sizes, untouched inputs, batches, weights that give the fused features,
    reports, types and devices, zeros, the declared reach or the survey, and two threads at once.

    Args:
        name: as registered.
        options: keyword arguments of its class.
        counts: numbers of sources to try.

    Returns:
        what is wrong, one line a finding that names the rule; nothing where all is well.

    Raises:
        UnknownNameError: there is no such rule.
    """
    findings = Findings(registered(registries().fusion_rules, name))
    with findings.during("to be built"), torch.no_grad():
        rule = build_rule(name, options)
        for count in counts:
            for size in SIZES:
                with findings.during(f"for {count} sources with features of {size[0]}×{size[1]} pixels"):
                    _check_result(findings, rule, features(count, 2, size))
        if findings.found:
            return findings.found
        _check_stages(findings, rule, counts)
    return findings.found


def features(count: int, batch: int, size: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Return the features (batch, C, *size) of ``count`` sources, normally distributed."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((batch, _CHANNELS, *size), generator=generator) for _ in range(count)]


def _apply(rule: FusionRule, group: Sequence[Tensor]) -> RuleResult:
    return checked_result(rule.apply(group), group, rule.component)


def _check_result(findings: Findings, rule: FusionRule, group: Sequence[Tensor]) -> None:
    before = [each.clone() for each in group]
    result = _apply(rule, group)
    check_unchanged(findings, before, group)
    if not is_finite([result.features, result.weights]):
        findings.add("gives values that are not finite for finite features")
        return
    check_json(findings, [dict(each) for each in result.report], "a report")
    if not isinstance(rule, WeightedRule):
        return
    if result.weights is None:
        findings.add("is a WeightedRule, and returns no weights")
        return
    if rule.only_weighs and difference(weighted_sum(result.weights, group), result.features) > 1e-5:
        findings.add("returns weights whose sum Σᵢ wᵢ·Fᵢ is not what it returns")
    if difference(checked_weighing(rule.weigh(group), group, rule.component).weights, result.weights) > 1e-5:
        findings.add("weighs otherwise by weigh(features) than by apply(features)")


def _check_stages(findings: Findings, rule: FusionRule, counts: Sequence[int]) -> None:
    count = counts[0]
    with findings.during("with batches"):
        together = features(count, 2, (14, 11), 1)
        whole = _apply(rule, together)
        for index in range(2):
            alone = _apply(rule, [each[index : index + 1] for each in together])
            own = whole.features[index : index + 1]
            if difference(alone.features, own) > 1e-5:
                findings.add("gives other values for a batch of two than for its images one by one")
                break
    with findings.during("with features of zeros"):
        if not is_finite(_apply(rule, [torch.zeros(1, _CHANNELS, 8, 8)] * count)[:2]):
            findings.add("gives values that are not finite for features of zeros")
    for dtype in (torch.bfloat16, torch.float16):
        shown = str(dtype).removeprefix("torch.")
        with findings.during(f"in {shown}", DeviceError):
            group = features(count, 1, (14, 11), 1)
            found = _apply(rule, [each.to(dtype) for each in group]).features
            if difference(found, _apply(rule, group).features) > 0.1:
                findings.add(f"gives other values in {shown} than in float32, by more than rounding")
    with findings.during("with its reach"):
        _check_reach(findings, rule, count)
    with findings.during("in tiles"):
        group = features(count, 1, (45, 38), 3)
        tiled = _in_tiles(findings, rule, group)
        if tiled is not None and difference(tiled, _apply(rule, group).features) > 1e-4:
            findings.add("gives other values in tiles than as a whole; mend reach, multiple or survey")
    with findings.during("in two threads"):
        groups = [features(count, 1, (17, 12), seed) for seed in (4, 5)]
        check_threads(findings, lambda group: list(_apply(rule, group)[:2]), groups)
    for device in accelerators():
        with findings.during(f"on {device}", DeviceError, RuleError):
            group = features(count, 1, (14, 11), 1)
            found = _apply(rule, [each.to(device) for each in group]).features
            if difference(found, _apply(rule, group).features) > 1e-2:
                findings.add(f"gives other values on {device} than on the CPU")


def _check_reach(findings: Findings, rule: FusionRule, count: int) -> None:
    if rule.reach is None:
        return
    if not isinstance(rule.reach, int) or rule.reach < 0:
        findings.add(f"declares the reach {rule.reach!r}; give a number of pixels from 0, or None")
        return
    side = rule.reach + 24 + rule.multiple
    group = [torch.sigmoid(each).double() for each in features(count, 1, (side, side), 2)]
    check_reach(findings, lambda first: rule.apply([first, *group[1:]]).features, group[0], rule.reach, rule.multiple)


def _in_tiles(findings: Findings, rule: FusionRule, group: Sequence[Tensor]) -> Tensor | None:
    """Return the fused features of one image, tile by tile, ``None`` for a rule that cannot be tiled."""
    size = group[0].shape[2:]
    final, reach = rule, rule.reach
    if reach is None:
        survey = rule.survey(len(group), tuple(group[0].shape), _MEMORY)
        if survey is None:
            return None
        reach = survey.reach
        parts = tiles(size, (16, 16), reach, rule.multiple)
        survey.preview(group)
        going_on = True
        while going_on:
            for tile in parts:
                survey.add([tile.window(each) for each in group], tile)
            going_on = survey.finish_pass()
        final = survey.rule()
        if final.reach is None or final.reach > reach:
            findings.add(f"has a survey that reaches {reach} pixels and gives a rule that reaches {final.reach}")
            return None
    fused = torch.empty_like(group[0])
    for tile in tiles(size, (16, 16), reach, rule.multiple):
        tile.write(fused, final.apply([tile.window(each) for each in group]).features)
    return fused
