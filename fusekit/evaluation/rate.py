"""``evaluate``: rate a fused image with any registered metrics, from files, arrays or tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from fusekit.errors import InputError
from fusekit.images.color import luminance
from fusekit.images.files import read_image
from fusekit.images.image import Array, Image, from_pixels, full_scale
from fusekit.machine.faults import in_our_words
from fusekit.metrics.base import Metric
from fusekit.metrics.build import build_metric
from fusekit.models.contract import described, unchanged
from fusekit.registry.contract import Component, calling, fault, registered

#: A path, an array (H, W) or (H, W, 3), or a tensor (H, W), (1, H, W) or (1, 1, H, W).
ImageLike = str | Path | Array | Tensor


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
    sources: Sequence[ImageLike], fused: ImageLike, metrics: str | Sequence[str] | None = None
) -> dict[str, float]:
    """Rate one fused image.

    Colour images are rated by their BT.601 luminance. Nothing is rounded, cut or stretched.

    Args:
        sources: the N ≥ 1 source images: paths, NumPy arrays (H, W) or (H, W, 3), or tensors (H, W), (1, H, W) or
            (1, 1, H, W). uint8 and uint16 use their full range, floats are in [0, 1], and other integers within 0…255
            are 8-bit values.
        fused: the fused image, of the sources' size, in any of these forms.
        metrics: names of registered metrics, or of sets: ``standard`` (the default), ``paper``, ``all``, which leaves
            out those that need weights of their own.

    Returns:
        each metric's value under its name, in the order asked for.

    Raises:
        InputError: an image cannot be read or used, or the sizes differ.
        UnknownNameError: there is no such metric.
        PluginError: a plugin's metric cannot be imported, or fails.
    """
    return {name: rating["value"] for name, rating in evaluate_detailed(sources, fused, metrics).items()}


def evaluate_detailed(
    sources: Sequence[ImageLike], fused: ImageLike, metrics: str | Sequence[str] | None = None
) -> dict[str, Rating]:
    """Rate one fused image and tell each source's share; arguments and errors as for `evaluate`."""
    chosen = _build_metrics(metrics)
    if isinstance(sources, (str, Path, np.ndarray, Tensor)):
        raise InputError("the sources come as a list of images, one entry each, also where there is only one")
    if not sources:
        raise InputError("there is no source to evaluate against; give at least one")
    images = [_read(source, f"source {number}") for number, source in enumerate(sources, 1)]
    result = _read(fused, "the fused image")
    for number, image in enumerate(images, 1):
        if image.size != result.size:
            raise InputError(
                f"{_called(image, f'source {number}')} is {_size(image)} pixels (height×width) and "
                f"{_called(result, 'the fused image')} {_size(result)}; register them to one size first"
            )
    tensors = [_to_tensor(image) for image in images]
    with torch.no_grad():
        return {name: _rate(name, metric, tensors, _to_tensor(result)) for name, metric in chosen.items()}


def read_luminance(given: ImageLike, role: str = "the image") -> Tensor:
    """Return an image as metrics take it: its luminance in [0, 1], float64, (1, 1, H, W); messages call it ``role``.

    Raises:
        InputError: it cannot be read or used.
    """
    return _to_tensor(_read(given, role))


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


def _build_metrics(names: str | Sequence[str] | None) -> dict[str, Metric]:
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


def _read(given: ImageLike, role: str) -> Image:
    """Return ``given`` as an `Image` whose floats are in [0, 1]; messages call it ``role``."""
    if isinstance(given, (str, Path)):
        image = read_image(given)
    else:
        pixels = _tensor_pixels(given, role) if isinstance(given, Tensor) else np.asarray(given)
        try:
            image = from_pixels(_eight_bit(pixels))
        except InputError as error:
            raise InputError(f"{role}: {error}") from error
    if image.depth == "float32" and not 0 <= image.pixels.min() <= image.pixels.max() <= 1:
        raise InputError(
            f"{_called(image, role)} holds floats from {image.pixels.min():g} to {image.pixels.max():g}; metrics take "
            "floats in [0, 1]: divide by the value that stands for white, or clip"
        )
    return image


def _tensor_pixels(tensor: Tensor, role: str) -> Array:
    """Return the pixels (H, W) of a tensor with leading axes of length 1."""
    shape = tuple(tensor.shape)
    if tensor.dim() not in (2, 3, 4) or any(length != 1 for length in shape[:-2]):
        raise InputError(f"{role} is a tensor of shape {shape}; give (H, W), (1, H, W) or (1, 1, H, W)")
    tensor = tensor.detach().cpu()
    pixels: Array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return pixels.reshape(shape[-2:])


def _eight_bit(pixels: Array) -> Array:
    """Read integers of other types than uint8 and uint16 as 8-bit values.

    Raises:
        InputError: some lie outside 0…255.
    """
    if pixels.dtype.kind not in "iu" or pixels.dtype in (np.uint8, np.uint16) or pixels.size == 0:
        return pixels
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        raise InputError(
            f"the array holds {pixels.dtype} values from {low} to {high}; "
            "give uint8, uint16, or floats in [0, 1], so that white is known"
        )
    return pixels.astype(np.uint8)


def _to_tensor(image: Image) -> Tensor:
    """Return the luminance in [0, 1], float64, as (1, 1, H, W)."""
    unit = image.pixels.astype(np.float64) / full_scale(image.depth)
    return torch.from_numpy(luminance(unit) if image.color else unit)[None, None]


def _called(image: Image, role: str) -> str:
    return f"{role} ({image.path})" if image.path is not None else role


def _size(image: Image) -> str:
    return "×".join(str(side) for side in image.size)
