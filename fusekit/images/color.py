"""Luminance and chroma: BT.601, full range (ITU-R BT.601-7, as in JFIF).

The one definition of luminance in fusekit. All arrays are float, on whatever scale white has (1, 255, …); chroma is
centred at 0.
"""

from __future__ import annotations

import numpy as np

from fusekit.images.image import Array

RED, GREEN, BLUE = 0.299, 0.587, 0.114


def luminance(rgb: Array) -> Array:
    """Return Y = 0.299 R + 0.587 G + 0.114 B: (H, W, 3) → (H, W)."""
    return np.asarray(rgb[..., 0] * RED + rgb[..., 1] * GREEN + rgb[..., 2] * BLUE)


def chroma(rgb: Array) -> Array:
    """Return (Cb, Cr) = ((B − Y) / 1.772, (R − Y) / 1.402): (H, W, 3) → (H, W, 2), centred at 0."""
    y = luminance(rgb)
    return np.stack([(rgb[..., 2] - y) / (2 * (1 - BLUE)), (rgb[..., 0] - y) / (2 * (1 - RED))], axis=-1)


def restore(y: Array, cbcr: Array) -> Array:
    """Return RGB of a luminance (H, W) and a chroma (H, W, 2), not clipped: the exact inverse of the two above."""
    red = y + 2 * (1 - RED) * cbcr[..., 1]
    blue = y + 2 * (1 - BLUE) * cbcr[..., 0]
    green = (y - RED * red - BLUE * blue) / GREEN
    return np.stack([red, green, blue], axis=-1)
