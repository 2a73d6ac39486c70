"""The colour of a fused image: a source's chroma or hue, or a grey source laid over through a colour map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fusekit.choices import ColorChoice
from fusekit.errors import Doubt, OptionError
from fusekit.images import color as spaces
from fusekit.images.image import Array, Image, full_scale
from fusekit.images.rows import in_bands

#: Red, green and blue of colour maps at evenly spaced values from black to white; between them they are straight.
MAPS = {
    # Hot iron: black, red, yellow, white (DICOM's HOT_IRON).
    "hot": ((0, 0, 0), (128, 0, 0), (255, 0, 0), (255, 128, 0), (255, 255, 0), (255, 255, 128), (255, 255, 255)),
    # As on consoles of PET: black, blue, magenta, red, yellow, white (DICOM's PET).
    "pet": ((0, 0, 0), (0, 0, 160), (96, 0, 192), (192, 0, 128), (255, 64, 0), (255, 192, 0), (255, 255, 255)),
    "rainbow": ((0, 0, 0), (96, 0, 160), (0, 0, 255), (0, 192, 192), (0, 224, 0), (255, 255, 0), (255, 0, 0)),
}
#: A picture is in colour where so large a share of its pixels has channels that differ by so many of 255 levels.
_COLOURED_SHARE, _COLOURED_LEVELS = 0.001, 12
#: Of the range, what of an overlaid image counts as background, through which the fused image shows.
_BACKGROUND = 1 / 255


class Coloring(NamedTuple):
    """How a fused image is coloured.

    Attributes:
        choice: what was asked for.
        source: index of the source whose colour it takes or that is laid over; ``None`` for a grey image.
        doubts: what of it only the user can settle.
    """

    choice: ColorChoice
    source: int | None
    doubts: tuple[Doubt, ...] = ()


def is_coloured(image: Image) -> bool:
    """Return whether an image shows colour, and not only the noise of a file that could hold some."""
    if not image.color:
        return False
    pixels = image.pixels.reshape(-1, 3)
    spread = pixels.max(1).astype(np.float64) - pixels.min(1)
    white = full_scale(image.depth) if image.depth != "float32" else max(float(pixels.max()), 1e-30)
    return bool((spread * 255 / white > _COLOURED_LEVELS).mean() >= _COLOURED_SHARE)


def choose_coloring(images: Sequence[Image], choice: ColorChoice, modalities: Sequence[str | None]) -> Coloring:
    """Return how sources colour what they are fused into.

    Args:
        images: the sources.
        choice: what was asked for.
        modalities: what they show, where that was said.

    Raises:
        OptionError: the source that was asked for is not there, or is grey.
    """
    if choice.source is not None and choice.source > len(images):
        raise OptionError(f"the color asks for source {choice.source}, and there are {len(images)}")
    if choice.mode == "gray":
        return Coloring(choice, None)
    if choice.mode == "overlay":
        return _overlaid(images, choice, modalities)
    if choice.source is not None:
        image = images[choice.source - 1]
        if not image.color:
            raise OptionError(f"the color asks for the chroma of {image.name}, which is grey; name another source")
        return Coloring(choice, choice.source - 1)
    coloured = [index for index, image in enumerate(images) if is_coloured(image)]
    doubts: tuple[Doubt, ...] = ()
    if len(coloured) > 1:
        named = " and ".join(images[index].name for index in coloured)
        text = (
            f"{named} are both in colour, and the first one's is kept; --color from:{coloured[1] + 1} keeps the other's"
        )
        doubts = (Doubt("colour", text),)
    return Coloring(choice, coloured[0] if coloured else None, doubts)


def _overlaid(images: Sequence[Image], choice: ColorChoice, modalities: Sequence[str | None]) -> Coloring:
    """Return the source that is laid over: the one asked for, a PET or SPECT, the one in colour, or the last."""
    if choice.source is not None:
        return Coloring(choice, choice.source - 1)
    functional = [index for index, each in enumerate(modalities) if each in ("pet", "spect")]
    if functional:
        return Coloring(choice, functional[0])
    coloured = [index for index, image in enumerate(images) if is_coloured(image)]
    place = coloured[0] if coloured else len(images) - 1
    text = (
        f"source {place + 1}, {images[place].name}, is laid over in colour; --color overlay:{choice.color_map}:"
        f"{choice.alpha:g}:N lays over another, and --modality says which is the PET or SPECT"
    )
    return Coloring(choice, place, (Doubt("colour", text),))


def painted(unit: Array, colours: Array, hue: bool) -> Array:
    """Return RGB (H, W, 3) in [0, 1] of a luminance (H, W) and the colour of a source (H, W, 3), both in [0, 1].

    Args:
        unit: the fused luminance.
        colours: of the source.
        hue: whether hue and saturation are kept (`fusekit.images.color.relit`), or chroma.
    """
    if hue:
        return in_bands(lambda grey, rgb: spaces.relit(np.clip(rgb, 0, 1), grey.astype(np.float64)), unit, colours)

    def with_chroma(grey: Array, rgb: Array) -> Array:
        return np.clip(spaces.restore(grey, spaces.chroma(rgb)), 0.0, 1.0)

    return in_bands(with_chroma, unit, colours)


def overlaid(unit: Array, functional: Array, color_map: str, alpha: float) -> Array:
    """Return RGB (H, W, 3) in [0, 1]: a grey image (H, W) under another one's colours, both in [0, 1].

    The blend is linear, alpha · colour + (1 − alpha) · grey; where the other image is at black the grey one shows.
    """

    def blended(grey: Array, values: Array) -> Array:
        weight = np.where(values > _BACKGROUND, alpha, 0.0)[..., None]
        return weight * mapped(values, color_map) + (1 - weight) * grey[..., None].astype(np.float64)

    return in_bands(blended, unit, functional)


def mapped(values: Array, color_map: str) -> Array:
    """Return the colours (…, 3) in [0, 1] of values in [0, 1]."""
    points = np.array(MAPS[color_map], np.float64) / 255
    places = np.linspace(0, 1, len(points))
    return np.stack([np.interp(values, places, points[:, channel]) for channel in range(3)], axis=-1)
