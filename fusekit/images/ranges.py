"""Value ranges: from an image's stored values to the [0, 1] that models take, and back to what is written."""

from __future__ import annotations

import numpy as np

from fusekit.images.color import luminance
from fusekit.images.image import Array, Image, full_scale
from fusekit.images.rows import in_bands
from fusekit.registry.specs import Normalization, OutputPolicy


def source_range(values: Array, depth: str, policy: Normalization) -> tuple[float, float]:
    """Return the stored values (low, high) that become 0 and 1.

    ``minmax`` takes the image's own least and greatest value. ``unit`` takes 0 and the dtype's white; a float image
    with values outside [0, 1] has no white of its own and is stretched. A constant image keeps the dtype's range, as
    there is nothing to stretch.
    """
    low, high = float(values.min()), float(values.max())
    white = full_scale(depth)
    outside = depth == "float32" and (low < 0 or high > 1)
    if low < high and (policy == "minmax" or outside):
        return low, high
    return 0.0, white


def to_unit(values: Array, limits: tuple[float, float]) -> Array:
    """Map stored values to float32 in [0, 1] by ``limits`` from `source_range`."""
    low, high = limits

    def scaled(band: Array) -> Array:
        return np.clip((band.astype(np.float64) - low) / (high - low), 0.0, 1.0).astype(np.float32)

    return in_bands(scaled, values)


def luminance_of(image: Image) -> Array:
    """Return an image's stored grey values, or the luminance of its stored colours: (H, W)."""
    return in_bands(luminance, image.pixels) if image.color else image.pixels


def unit_luminance(image: Image, policy: Normalization) -> Array:
    """Return an image's luminance as a model with this normalisation takes it: (H, W) float32 in [0, 1]."""
    values = luminance_of(image)
    return to_unit(values, source_range(values, image.depth, policy))


def output_to_unit(image: Array, policy: OutputPolicy) -> Array:
    """Bring a network's raw output to [0, 1]: cut there (``clamp``) or stretch (``minmax``; a constant is cut)."""
    if policy == "minmax":
        low, high = float(image.min()), float(image.max())
        if low < high:
            image = (image - low) / (high - low)
    return np.clip(image, 0.0, 1.0)


def from_unit(image: Array, depth: str, limits: tuple[float, float]) -> Array:
    """Turn [0, 1] into pixels of ``depth``: integers use their full range, floats lie within ``limits``."""
    if depth == "float32":
        low, high = limits
        return in_bands(lambda band: (band.astype(np.float64) * (high - low) + low).astype(np.float32), image)
    return np.asarray(np.rint(image * full_scale(depth)), dtype=depth)
