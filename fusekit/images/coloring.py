"""The colour of a fused image: a source's chroma or hue, or a grey source laid over through a colour map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fusekit.choices import ColorChoice
from fusekit.errors import Doubt, OptionError
from fusekit.images import color as spaces
from fusekit.images.image import Array, Image
from fusekit.images.ranges import Range
from fusekit.images.rows import in_bands

#: Red, green and blue of colour maps at evenly spaced values from black to white; between them they are straight.
MAPS = {
    # Hot iron: black, red, yellow, white (DICOM's HOT_IRON).
    "hot": ((0, 0, 0), (128, 0, 0), (255, 0, 0), (255, 128, 0), (255, 255, 0), (255, 255, 128), (255, 255, 255)),
    # As on consoles of PET: black, blue, magenta, red, yellow, white (DICOM's PET).
    "pet": ((0, 0, 0), (0, 0, 160), (96, 0, 192), (192, 0, 128), (255, 64, 0), (255, 192, 0), (255, 255, 255)),
    # Black, violet, blue, green, yellow, red.
    "rainbow": ((0, 0, 0), (96, 0, 160), (0, 0, 255), (0, 192, 192), (0, 224, 0), (255, 255, 0), (255, 0, 0)),
    "gray": ((0, 0, 0), (255, 255, 255)),
}
#: A picture is in colour where so large a share of its pixels has channels that differ by so many of 255 levels.
_COLOURED_SHARE, _COLOURED_LEVELS = 0.001, 12
#: Of the most colour that a source has, how much another one has that is no less the one in colour.
_AS_MUCH = 0.5
#: Of the range, what of an overlaid image the fused image shows through: all at black, nothing from here on.
_FADE = 0.1


class Amount(NamedTuple):
    """How much colour an image shows, in levels of which its range has 255.

    Attributes:
        most: the greatest difference of a pixel's channels.
        typical: the root of their mean square.
        coloured: whether it is more than the noise of a file that could hold colour.
    """

    most: float = 0.0
    typical: float = 0.0
    coloured: bool = False


class Coloring(NamedTuple):
    """How a fused image is coloured.

    Attributes:
        choice: what was asked for.
        source: index of the source whose colour it takes or that is laid over; ``None`` for a grey image.
        amounts: how much colour each source shows.
        doubts: what of it only the user can settle.
    """

    choice: ColorChoice
    source: int | None
    amounts: tuple[Amount, ...]
    doubts: tuple[Doubt, ...] = ()


def amount_of_colour(image: Image, found: Range) -> Amount:
    """Return how much colour an image of this range shows."""
    if not image.color:
        return Amount()
    scale = 255 / (found.high - found.low)

    def spreads(band: Array) -> Array:
        shown = np.clip(band.astype(np.float64), found.low, found.high)
        return np.asarray(shown.max(axis=-1) - shown.min(axis=-1)) * scale

    spread = in_bands(spreads, image.pixels)
    coloured = bool((spread > _COLOURED_LEVELS).mean() >= _COLOURED_SHARE)
    return Amount(float(spread.max()), float(np.sqrt(np.square(spread).mean())), coloured)


def noting_grey(images: Sequence[Image], coloring: Coloring) -> list[Image]:
    """Return images of which those that could be in colour, and count as grey, have a note of it."""
    found = list(images)
    for place, (image, amount) in enumerate(zip(images, coloring.amounts, strict=True)):
        if image.color and not amount.coloured:
            note = f"colours that differ from grey by up to {amount.most:.3g} of 255 levels count as grey"
            found[place] = replace(image, notes=(*image.notes, note))
    return found


def choose_coloring(
    images: Sequence[Image], ranges: Sequence[Range], choice: ColorChoice, modalities: Sequence[str | None]
) -> Coloring:
    """Return how sources colour what they are fused into.

    Args:
        images: the sources.
        ranges: of each.
        choice: what was asked for.
        modalities: what they show, where that was said.

    Raises:
        OptionError: the source that was asked for is not there, or is grey.
    """
    if choice.source is not None and choice.source > len(images):
        raise OptionError(f"the color asks for source {choice.source}, and there are {len(images)}")
    amounts = tuple(amount_of_colour(image, each) for image, each in zip(images, ranges, strict=True))
    if choice.mode == "gray":
        return Coloring(choice, None, amounts)
    if choice.mode == "overlay":
        return _overlaid(images, amounts, choice, modalities)
    if choice.source is not None:
        image = images[choice.source - 1]
        if not image.color:
            raise OptionError(f"the color asks for the chroma of {image.name}, which is grey; name another source")
        return Coloring(choice, choice.source - 1, amounts)
    coloured = [index for index, each in enumerate(amounts) if each.coloured]
    if not coloured:
        return Coloring(choice, None, amounts)
    enough = _AS_MUCH * max(amounts[index].typical for index in coloured)
    taken = next(index for index in coloured if amounts[index].typical >= enough)
    others = [index for index in coloured if index != taken]
    return Coloring(choice, taken, amounts, _of_several(images, choice, taken, others))


def _of_several(images: Sequence[Image], choice: ColorChoice, taken: int, others: Sequence[int]) -> tuple[Doubt, ...]:
    """Return the doubt about which source gives the colour, where ``others`` could."""
    if not others:
        return ()
    named = " and ".join(images[index].name for index in sorted([taken, *others]))
    both = "both" if len(others) == 1 else "all"
    mode = "hue" if choice.mode == "hue" else "from"
    text = (
        f"{named} are {both} in colour, and that of source {taken + 1}, {images[taken].name}, is kept; --color "
        f"{mode}:{others[0] + 1} keeps that of source {others[0] + 1}"
    )
    return (Doubt("colour", text),)


def _overlaid(
    images: Sequence[Image], amounts: tuple[Amount, ...], choice: ColorChoice, modalities: Sequence[str | None]
) -> Coloring:
    """Return the source that is laid over: the one asked for, a PET or SPECT, the one in colour, or the last."""
    named = f"overlay:{choice.color_map}:{choice.alpha:g}"
    functional = [index for index, each in enumerate(modalities) if each in ("pet", "spect")]
    coloured = [index for index, each in enumerate(amounts) if each.coloured]
    if choice.source is not None:
        place, said = choice.source - 1, ""
    elif functional:
        place, said = functional[0], ""
    else:
        place = coloured[0] if coloured else len(images) - 1
        said = f"; --color {named}:N lays over another, and --modality says which is the PET or SPECT"
    if place in coloured:
        text = (
            f"source {place + 1}, {images[place].name}, is in colour already, and its luminance is laid over in other "
            "colours, which need not rise with what it measured; --color keep or hue shows its own"
        )
        return Coloring(choice, place, amounts, (Doubt("colour", f"{text}{said}"),))
    text = f"source {place + 1}, {images[place].name}, is laid over in colour{said}"
    return Coloring(choice, place, amounts, (Doubt("colour", text),) if said else ())


def with_chroma(unit: Array, colours: Array) -> Array:
    """Return RGB (H, W, 3) of a luminance (H, W) and the chroma of colours (H, W, 3), cut to [0, 1]."""

    def restored(grey: Array, rgb: Array) -> Array:
        return np.clip(spaces.restore(grey, spaces.chroma(rgb)), 0.0, 1.0)

    return in_bands(restored, unit, colours)


def with_hue(unit: Array, own: Array, colours: Array) -> Array:
    """Return colours (H, W, 3) made lighter or darker as fusing made them, hue and saturation kept, all in [0, 1].

    Args:
        unit: the fused luminance (H, W).
        own: the source's luminance (H, W) as it was fused.
        colours: the source's.
    """

    def relit(after: Array, before: Array, rgb: Array) -> Array:
        return spaces.relit(np.clip(rgb, 0.0, 1.0), before.astype(np.float64), after.astype(np.float64))

    return in_bands(relit, unit, own, colours)


def overlaid(unit: Array, functional: Array, color_map: str, alpha: float) -> Array:
    """Return RGB (H, W, 3) in [0, 1]: a grey image (H, W) under another one's colours, both in [0, 1].

    The blend is linear, alpha · colour + (1 − alpha) · grey; where the other image is at black the grey one shows, and
    alpha rises to what it is over the lowest tenth of the range, so that its background has no edge.
    """

    def blended(grey: Array, values: Array) -> Array:
        weight = (alpha * np.minimum(values.astype(np.float64) / _FADE, 1.0))[..., None]
        return weight * mapped(values, color_map) + (1 - weight) * grey[..., None].astype(np.float64)

    return in_bands(blended, unit, functional)


def mapped(values: Array, color_map: str) -> Array:
    """Return the colours (…, 3) in [0, 1] of values in [0, 1]."""
    points = np.array(MAPS[color_map], np.float64) / 255
    places = np.linspace(0, 1, len(points))
    return np.stack([np.interp(values, places, points[:, channel]) for channel in range(3)], axis=-1)
