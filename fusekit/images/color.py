"""Luminance and chroma: BT.601, full range (ITU-R BT.601-7, as in JFIF); lightness and hue: OKLab (Ottosson, 2020).

The one definition of luminance in fusekit is that of BT.601. All arrays are float, on whatever scale white has
(1, 255, …) for BT.601, and in [0, 1] for OKLab; chroma is centred at 0.
"""

from __future__ import annotations

import numpy as np

from fusekit.images.image import Array

RED, GREEN, BLUE = 0.299, 0.587, 0.114

#: Linear sRGB to the responses of cones, and their cube roots to OKLab.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
#: Halvings by which the greatest saturation that can be shown is found: to a part in 4096.
_HALVINGS = 12
#: How often at most chroma is multiplied, and the greatest channels between which hue begins to be known.
_GAIN, _NO_HUE = 3.0, (0.05, 0.25)


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


def to_oklab(rgb: Array) -> Array:
    """Return OKLab (lightness, a, b) of sRGB in [0, 1]: (…, 3) → (…, 3); grey has a = b = 0."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    found: Array = np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T
    return found


def from_oklab(lab: Array) -> Array:
    """Return sRGB of OKLab, the inverse of `to_oklab`; colours that a screen cannot show lie outside [0, 1]."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T
    found: Array = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)
    return found


def relit(rgb: Array, before: Array, after: Array) -> Array:
    """Return colours (H, W, 3) whose lightness changes as that of grey does from ``before`` to ``after``.

    Hue and saturation stay, which is chroma over lightness, so that orange stays orange where it becomes lighter.
    Where a screen cannot show a colour, its chroma is lessened, hue and lightness kept. What is nearly black has no
    hue to speak of: it gains at most `_GAIN` times its chroma, and loses it towards black.

    Args:
        rgb: colours (H, W, 3) in [0, 1].
        before: their luminance (H, W) in [0, 1], on the scale of ``after``.
        after: the luminance (H, W) that is wanted.
    """
    lab = to_oklab(rgb)
    lightness = np.clip(lab[..., :1] + (_lightness(after) - _lightness(before))[..., None], 0.0, 1.0)
    gain = np.minimum(lightness / np.maximum(lab[..., :1], 1e-4), _GAIN)
    dark, light = _NO_HUE
    known = np.clip((rgb.max(axis=-1, keepdims=True) - dark) / (light - dark), 0.0, 1.0)
    colour = lab[..., 1:] * gain * known**2 * (3 - 2 * known)
    shown, most = np.zeros_like(lightness), np.ones_like(lightness)
    for _ in range(_HALVINGS):
        middle = (shown + most) / 2
        fits = _shown(lightness, colour * middle)
        shown, most = np.where(fits, middle, shown), np.where(fits, most, middle)
    share = np.where(_shown(lightness, colour), 1.0, shown)
    return np.clip(from_oklab(np.concatenate([lightness, colour * share], axis=-1)), 0.0, 1.0)


def _lightness(grey: Array) -> Array:
    """Return the lightness in OKLab of greys of sRGB in [0, 1], same shape."""
    found: Array = to_oklab(np.repeat(grey[..., None], 3, axis=-1))[..., 0]
    return found


def _shown(lightness: Array, colour: Array) -> Array:
    """Return which colours (…, 1) a screen can show."""
    rgb = from_oklab(np.concatenate([lightness, colour], axis=-1))
    found: Array = np.all((rgb >= -1e-4) & (rgb <= 1 + 1e-4), axis=-1, keepdims=True)
    return found
