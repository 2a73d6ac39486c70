"""Checks of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.checks.base import Findings, accelerators, check_unchanged, images
from fusekit.errors import DeviceError, InputError
from fusekit.metrics.base import AllSourcesMetric, FusedMetric, Metric, SourceMetric
from fusekit.metrics.build import build_metric
from fusekit.registry.contract import registered
from fusekit.registry.discovery import registries

#: Sides of flat and rough images, in pixels; a metric may refuse small ones with `InputError`.
_SIDES = (2, 3, 5, 20)
_ORDINARY = (34, 47)


def check_metric(name: str, *, ordered: bool = False) -> list[str]:
    """Check a metric against its contract.

    What it says of itself, shapes of its values, 1, 2 and 3 sources in any order, untouched inputs, batches, images of
    one grey level (no NaN, nothing outside the range), float32 and float64, its direction, devices.

    Args:
        name: as registered.
        ordered: whether by its definition the value depends on the order of the sources.

    Returns:
        what is wrong, one line a finding that names the metric; nothing where all is well.

    Raises:
        UnknownNameError: there is no such metric.
    """
    findings = Findings(registered(registries().metrics, name))
    with findings.during("to be built"), torch.no_grad():
        metric = build_metric(name)
        _check_facts(findings, metric)
        if findings.found:
            return findings.found
        for what, stage in (
            ("with 1, 2 and 3 sources", _check_counts),
            *(() if ordered else (("with its sources in another order", _check_order),)),
            ("with images of several shapes", _check_refusals),
            ("with batches", _check_batch),
            ("with images of one grey level", _check_degenerate),
            ("in float32", _check_precision),
            ("with equal images and noise", _check_direction),
            ("on another device", _check_devices),
        ):
            with findings.during(what):
                stage(findings, metric)
    return findings.found


def _most(metric: Metric) -> int:
    """Return how many sources to try."""
    return min((isinstance(metric, AllSourcesMetric) and metric.max_sources) or 3, 3)


def _noise(seed: int, batch: int = 1, size: Sequence[int] = _ORDINARY) -> Tensor:
    return images(1, batch, size, seed=seed)[0].double()


def _close(found: Tensor, wanted: Tensor, relative: float = 1e-6) -> bool:
    return torch.allclose(found.cpu().double(), wanted.cpu().double(), rtol=relative, atol=1e-9)


def _check_facts(findings: Findings, metric: Metric) -> None:
    kinds = (FusedMetric, SourceMetric, AllSourcesMetric)
    if not isinstance(metric, kinds):
        findings.add("derives from none of the kinds of metric: FusedMetric, SourceMetric, AllSourcesMetric")
        return
    allowed = {FusedMetric: ("fused only",), SourceMetric: ("mean", "sum"), AllSourcesMetric: ("all at once",)}
    combine = getattr(metric, "combine", None)
    (kind,) = (each for each in kinds if isinstance(metric, each))
    if combine not in allowed[kind]:
        findings.add(f"has combine {combine!r}; as a {kind.__name__} it has {' or '.join(allowed[kind])}")
    ends = getattr(metric, "range", None)
    if not isinstance(ends, tuple) or len(ends) != 2 or not ends[0] < ends[1]:
        findings.add(f"has the range {ends!r}; give the least and the greatest possible value, inf is allowed")
    for fact in ("data_range", "look_alikes"):
        if not str(getattr(metric, fact, "")).strip():
            findings.add(f"does not say its {fact}")


def _check_values(findings: Findings, metric: Metric, sources: Sequence[Tensor], fused: Tensor) -> None:
    """Find values of other shapes, NaN, and values outside the range."""
    value, each = metric.rate(sources, fused)
    batch, low, high = len(fused), *metric.range
    shown = f"{len(sources)} sources of {fused.shape[2]}×{fused.shape[3]} pixels"
    if not isinstance(value, Tensor) or value.shape != (batch,):
        findings.add(f"rates a batch of {batch} by {_described(value)}; one value an image is wanted")
        return
    if isinstance(metric, FusedMetric) and each is not None:
        findings.add("looks at the fused image only, and gives values of sources")
    if isinstance(metric, SourceMetric) and each is None:
        findings.add("compares with each source, and gives no values of sources")
    if each is not None and (not isinstance(each, Tensor) or each.shape != (len(sources), batch)):
        findings.add(f"gives {_described(each)} for the sources' own values; ({len(sources)}, {batch}) is wanted")
        return
    if bool(value.isnan().any()) or (each is not None and bool(each.isnan().any())):
        findings.add(f"gives NaN for {shown}")
    slack = (
        1e-9 + 1e-9 * max(abs(end) for end in (low, high) if math.isfinite(end)) if math.isfinite(low + high) else 1e-9
    )
    compared = value if each is None else each
    if bool(((compared < low - slack) | (compared > high + slack)).any()):
        worst = max(compared.flatten().tolist(), key=lambda one: max(low - one, one - high))
        findings.add(f"has the range {low:g} to {high:g}, and gives {worst:g} for {shown}")


def _described(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _check_counts(findings: Findings, metric: Metric) -> None:
    fused = _noise(9, 2)
    for count in range(1, _most(metric) + 1):
        sources = [_noise(seed, 2) for seed in range(count)]
        before = [each.clone() for each in (*sources, fused)]
        _check_values(findings, metric, sources, fused)
        check_unchanged(findings, before, [*sources, fused])
        if isinstance(metric, SourceMetric):
            value, each = metric.rate(sources, fused)
            if each is None:
                return
            combined = each.sum(0) if metric.combine == "sum" else each.mean(0)
            if not _close(value, combined):
                findings.add(f"says that it is the {metric.combine} over the sources, and is not")
            for source, own in zip(sources, each, strict=True):
                if not _close(metric.rate([source], fused)[0], own):
                    findings.add("gives a source another value beside others than alone")


def _check_order(findings: Findings, metric: Metric) -> None:
    sources, fused = [_noise(seed) for seed in range(_most(metric))], _noise(9)
    if not _close(metric.rate(sources[::-1], fused)[0], metric.rate(sources, fused)[0]):
        findings.add("gives another value when the same sources come in another order")


def _check_refusals(findings: Findings, metric: Metric) -> None:
    fused, count = _noise(1), _most(metric)
    wrong: list[tuple[str, list[Tensor], Tensor]] = [
        ("images of three channels", [fused.expand(1, 3, -1, -1)] * count, fused.expand(1, 3, -1, -1))
    ]
    if not isinstance(metric, FusedMetric):
        wrong += [
            ("sources of another size", [fused[..., :-1]] * count, fused),
            ("no sources", [], fused),
        ]
    most = metric.max_sources if isinstance(metric, AllSourcesMetric) else None
    if most is not None:
        wrong.append((f"{most + 1} sources, more than its max_sources", [fused] * (most + 1), fused))
    for what, sources, image in wrong:
        try:
            metric.rate(sources, image)
        except InputError:
            continue
        findings.add(f"takes {what}; refuse them with InputError, as the kinds of metric do")


def _check_batch(findings: Findings, metric: Metric) -> None:
    sources, fused = [_noise(seed, 3) for seed in range(_most(metric))], _noise(9, 3)
    value, each = metric.rate(sources, fused)
    for index in range(3):
        own = slice(index, index + 1)
        alone, shares = metric.rate([source[own] for source in sources], fused[own])
        if not _close(alone, value[own]) or (
            each is not None and shares is not None and not _close(shares, each[:, own])
        ):
            findings.add("gives other values for a batch of three than for its images one by one")
            return


def _check_degenerate(findings: Findings, metric: Metric) -> None:
    for side in _SIDES:
        black, grey, white = (torch.full((1, 1, side, side), level / 255).double() for level in (0, 77, 255))
        rough = _noise(side, 1, (side, side))
        fused = torch.cat([black, grey, white, rough])
        together = [each.expand(4, 1, side, side) for each in (black, grey, white, rough)]
        pairs = [
            [together[0]],
            [together[3], together[0]],
            [together[2], together[1]],
            [fused, together[3]],
            [fused / 2],
        ]
        for sources in pairs:
            # Only ordinary sizes must be taken.
            with findings.during(f"for flat images of {side}×{side} pixels", *([InputError] if side < 20 else [])):
                _check_values(findings, metric, sources[: _most(metric)], fused)


def _check_precision(findings: Findings, metric: Metric) -> None:
    sources, fused = [_noise(seed) for seed in range(min(_most(metric), 2))], _noise(9)
    single = metric.rate([each.float() for each in sources], fused.float())[0]
    if not _close(single, metric.rate(sources, fused)[0], 1e-5):
        findings.add("gives other values in float32 than in float64 for 8-bit images, by more than rounding")


def _check_direction(findings: Findings, metric: Metric) -> None:
    if not isinstance(metric, SourceMetric):
        return
    source = _noise(1)
    equal, noise = float(metric([source], source)), float(metric([source], _noise(2)))
    better = equal >= noise if metric.direction == "higher" else equal <= noise
    if not better:
        findings.add(
            f"is registered as direction={metric.direction!r}, and rates a copy of the source by {equal:g} and noise "
            f"by {noise:g}"
        )


def _check_devices(findings: Findings, metric: Metric) -> None:
    sources, fused = [_noise(seed) for seed in range(min(_most(metric), 2))], _noise(9)
    wanted = metric.rate(sources, fused)[0]
    for device in accelerators():
        with findings.during(f"on {device}", DeviceError):
            found = metric.rate([each.to(device) for each in sources], fused.to(device))[0]
            if found.device.type != device.type:
                findings.add(f"gives values on {found.device} for images on {device}")
            elif not _close(found, wanted, 1e-4):
                findings.add(f"gives other values on {device} than on the CPU")
