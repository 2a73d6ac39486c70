"""``evaluate``: rate a fused image with any registered metrics, from files, arrays or tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from fusekit.errors import FusekitWarning, InputError
from fusekit.evaluation.reading import ImageLike, read_all, read_one, settled, to_tensor
from fusekit.images.files import check_page, is_page
from fusekit.images.ranges import find_range
from fusekit.machine.faults import in_our_words
from fusekit.metrics.base import Metric
from fusekit.metrics.build import build_metric
from fusekit.models.contract import described, unchanged
from fusekit.options import MAX_PIXELS
from fusekit.registry.contract import Component, calling, fault, registered


class Rating(TypedDict):
    """What one metric says of one fused image.

    Keys:
        value: the metric, combined over the sources.
        per_source: its value for each source, in order; ``None`` where it is not compared source by source.
        worst: the worst of these, by the metric's direction; ``None`` likewise.
    """

    value: float
    per_source: list[float] | None
    worst: float | None


@in_our_words
def evaluate(
    sources: Sequence[ImageLike],
    fused: ImageLike,
    metrics: str | Sequence[str] | None = None,
    data_range: str | Sequence[str] = (),
    *,
    nan: str = "refuse",
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, float]:
    """Rate one fused image.

    Colour images are rated by their BT.601 luminance. Nothing is rounded or stretched.

    Args:
        sources: the N ≥ 1 source images: paths, NumPy arrays (H, W) or (H, W, 3), or tensors (H, W), (1, H, W) or
            (1, 1, H, W). Black and white are found as in fusing: 8 bits use their full range, 16 the bits that are
            stored, floats are in [0, 1], other floats have their own least and greatest value, which is said; other
            integers within 0…255 are 8-bit values.
        fused: the fused image, of the sources' size, in any of these forms.
        metrics: names of registered metrics, or of sets: ``standard`` (the default), ``paper``, ``all``, which leaves
            out those that need weights of their own.
        data_range: which stored values are black and white, as the range of `fusekit.FuseOptions`, and ``fused=RANGE``
            for the fused image. Without, the record beside the fused image says it, where there is one.
        nan: whether values that are NaN, infinite or masked are refused or taken for ``background``, the least value
            of the image; the latter without asking where the record says that fusing did so.
        page: which image of files that hold several, counted from 1.
        max_pixels: the most pixels that an image file may have, checked before memory is taken.

    Returns:
        each metric's value under its name, in the order asked for.

    Raises:
        InputError: an image cannot be read or used, or the sizes differ.
        OptionError: a page is asked for, and no file holds several.
        UnknownNameError: there is no such metric.
        PluginError: a plugin's metric cannot be imported, or fails.
    """
    found = evaluate_detailed(sources, fused, metrics, data_range, nan=nan, page=page, max_pixels=max_pixels)
    return {name: rating["value"] for name, rating in found.items()}


def evaluate_detailed(
    sources: Sequence[ImageLike],
    fused: ImageLike,
    metrics: str | Sequence[str] | None = None,
    data_range: str | Sequence[str] = (),
    *,
    nan: str = "refuse",
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, Rating]:
    """Rate one fused image and tell each source's share; arguments and errors as for `evaluate`."""
    chosen = build_metrics(metrics)
    if isinstance(sources, (str, Path, np.ndarray, Tensor)):
        raise InputError("the sources come as a list of images, one entry each, also where there is only one")
    if not sources:
        raise InputError("there is no source to evaluate against; give at least one")
    read = read_all(sources, fused, data_range, nan=nan, page=page, max_pixels=max_pixels)
    check_page(page, any(map(is_page, read.images)))
    for doubt in read.doubts:
        warnings.warn(doubt.text, FusekitWarning, stacklevel=3)
    return rate_tensors(read.sources, read.fused, chosen)


def rate_tensors(
    sources: list[Tensor],
    fused: Tensor,
    metrics: Mapping[str, Metric],
    report: Callable[[str], object] | None = None,
) -> dict[str, Rating]:
    """Rate luminances (1, 1, H, W) of one size in [0, 1], float64.

    Args:
        sources: N ≥ 1.
        fused: one.
        metrics: built, by name.
        report: called with the name of each metric that is about to be computed.

    Raises:
        PluginError: a metric fails, returns what its contract does not allow, or changes the images.
    """
    ratings = {}
    with torch.no_grad():
        for name, metric in metrics.items():
            if report is not None:
                report(name)
            ratings[name] = _rate(name, metric, sources, fused)
    return ratings


def read_luminance(given: ImageLike, role: str = "the image") -> Tensor:
    """Return an image as metrics take it: its luminance in [0, 1], float64, (1, 1, H, W); messages call it ``role``.

    Raises:
        InputError: it cannot be read or used.
    """
    image = settled(read_one(given, role), role)
    return to_tensor(image, find_range(image).limits)


def metric_names(metrics: str | Sequence[str] | None = None) -> list[str]:
    """Return the ids that ``metrics`` stands for: ids and names of sets, mixed; ``None`` is the set ``standard``.

    Raises:
        UnknownNameError: there is no such metric.
    """
    from fusekit.metrics.sets import expand
    from fusekit.registry.discovery import registries

    registry = registries().metrics
    asked = ["standard"] if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
    names = expand(asked, [entry.name for entry in registry if not entry.details.get("optional")])
    for name in names:
        registry.entry(name)
    return names


def arrow(metric: str) -> str:
    """Return ↑ where higher values of the metric are better, ↓ where lower ones are."""
    from fusekit.registry.discovery import registries

    return {"higher": "↑", "lower": "↓"}[registries().metrics.entry(metric).details["direction"]]


def build_metrics(names: str | Sequence[str] | None) -> dict[str, Metric]:
    """Return built metrics by name; arguments and errors as for `metric_names`, and a `PluginError` of a bad one."""
    return {name: build_metric(name) for name in metric_names(names)}


def _rate(name: str, metric: Metric, sources: list[Tensor], fused: Tensor) -> Rating:
    """Return what the metric called ``name`` says.

    Raises:
        PluginError: it fails, returns what its contract does not allow, or changes the images.
    """
    from fusekit.registry.discovery import registries

    component = registered(registries().metrics, name)
    with calling(component), unchanged([*sources, fused], component):
        value, values = _checked(metric.rate(sources, fused), len(sources), component)
        return {
            "value": float(value),
            "per_source": None if values is None else [float(each) for each in values],
            "worst": None if values is None else float(metric.worst_of(values)),
        }


def _checked(given: Any, count: int, component: Component) -> tuple[Tensor, Tensor | None]:
    """Return what `Metric.rate` gave of one image and its sources, if it is what it promises.

    Raises:
        PluginError: it is not.
    """
    if not isinstance(given, tuple) or len(given) != 2:
        found = f"a tuple of {len(given)}" if isinstance(given, tuple) else described(given)
        raise fault(component, f"returned {found}", "rate returns the value and the sources' own values, or None")
    value, values = given
    wanted = [("value", value, (1,))] + ([] if values is None else [("values of the sources", values, (count, 1))])
    for what, found, shape in wanted:
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape != shape:
            raise fault(component, f"returned {described(found)} for its {what}", f"a float tensor {shape} is wanted")
        if found.isnan().any():
            raise fault(component, f"returned NaN for its {what}", "give the limit, or 0 where there is none")
    return value, values
