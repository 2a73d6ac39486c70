"""Value ranges: from an image's stored values to the [0, 1] that models and metrics take, and back to what is written.

The range of a source is the pair of stored values that count as black and white. It is found here, for fusing, for
records and for metrics alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fusekit.choices import RangeChoice, parse_range
from fusekit.errors import Doubt, OptionError
from fusekit.images.color import luminance
from fusekit.images.image import Array, Image, full_scale
from fusekit.images.rows import in_bands
from fusekit.registry.specs import Normalization, OutputPolicy

#: Numbers of bits that are stored in 16.
_STORED = (8, 10, 12, 14, 16)
#: Of an image's pixels, those at either end that may be hot; and how little of the range the others then use.
_HOT_SHARE, _USED_SHARE = 0.001, 0.5
#: Pixels that are looked at for percentiles.
_SAMPLE = 1 << 20
#: Images that one line names.
_FACTS = 3


class Finding(NamedTuple):
    """What of a range only the user can settle.

    Attributes:
        kind: a word, as of `fusekit.errors.Doubt`.
        fact: what is so of one image, with its name.
        remedy: what settles it; ``{option}`` stands for the option and what is before its value.
    """

    kind: str
    fact: str
    remedy: str


class Range(NamedTuple):
    """The stored values that count as black and white, and how they were found.

    Attributes:
        low: black, which becomes 0.
        high: white, which becomes 1.
        choice: as it was asked for.
        bits: that are stored, where these were found: 8, 10, 12, 14 or 16.
        findings: what of it only the user can settle.
        inverted: whether black and white were exchanged.
    """

    low: float
    high: float
    choice: str = "auto"
    bits: int | None = None
    findings: tuple[Finding, ...] = ()
    inverted: bool = False

    @property
    def limits(self) -> tuple[float, float]:
        """Black and white."""
        return self.low, self.high


def bits_for(value: float) -> int:
    """Return the least of 8, 10, 12, 14, 16 bits that hold a stored value."""
    return next((bits for bits in _STORED if value < 1 << bits), _STORED[-1])


def white_of(depth: str, found: Range) -> float:
    """Return the stored value that is white in what is written of an image of this depth and range.

    Integers of 16 bits hold as many as the white of the range takes: 4095 where it is 3500. Floats have 1.
    """
    return float((1 << bits_for(found.high)) - 1) if depth == "uint16" else full_scale(depth)


def find_range(image: Image, choice: str = "auto") -> Range:
    """Return the range of an image.

    Args:
        image: in its stored values.
        choice: as `fusekit.choices.parse_range` takes it. ``auto`` is 0 to 255 for 8 bits, 0 to the greatest value of
            the bits stored for 16, 0 to 1 for floats that lie there, and the least and the greatest value of others.

    Raises:
        OptionError: it is no range, or is of a folder, which one image is not.
    """
    asked, values = parse_range(choice), image.pixels
    if asked.kind == "folder":
        raise OptionError(f"the range {choice!r} is found from all images of a folder; use it with --pairs")
    if asked.kind == "limits" and asked.numbers is not None:
        return Range(*asked.numbers, choice)
    if asked.kind == "percentile":
        return Range(*_spread(*percentiles(values, asked), image), choice)
    if asked.kind == "data" or (asked.kind == "dtype" and _outside(image)):
        return Range(*_spread(*ends_of(values), image), choice)
    if asked.kind == "dtype" or image.depth == "uint8":
        return Range(0.0, full_scale(image.depth), choice)
    if image.depth == "uint16":
        bits = bits_for(ends_of(values)[1]) if asked.numbers is None else bits_for(asked.numbers[1])
        white = float((1 << bits) - 1)
        return Range(0.0, white, choice, bits, (*_hot(image, (0.0, white)), *_few_bits(image, bits)))
    if not _outside(image):
        return Range(0.0, 1.0, choice, None, _hot(image, (0.0, 1.0)))
    found = _spread(*ends_of(values), image)
    return Range(*found, choice, None, (*_hot(image, found), *_stretched(image, found)))


def doubts_about(ranges: Iterable[Range], option: str = "--range ") -> tuple[Doubt, ...]:
    """Return what of some ranges only the user can settle: of each kind one doubt, with what is so of each image.

    Args:
        ranges: of images.
        option: by which the user settles it, with what is before its value.
    """
    by_kind: dict[str, list[Finding]] = {}
    for each in ranges:
        for finding in each.findings:
            by_kind.setdefault(finding.kind, []).append(finding)
    doubts = []
    for kind, findings in by_kind.items():
        facts = list(dict.fromkeys(finding.fact for finding in findings))
        more = f", and {len(facts) - _FACTS} more are alike" if len(facts) > _FACTS else ""
        remedy = findings[0].remedy.format(option=option)
        doubts.append(Doubt(kind, f"{'; '.join(facts[:_FACTS])}{more}; {remedy}"))
    return tuple(doubts)


def _outside(image: Image) -> bool:
    """Return whether a float image has values outside [0, 1], so that its black and white are not known."""
    return image.depth == "float32" and (image.pixels.min() < 0 or image.pixels.max() > 1)


def ends_of(values: Array) -> tuple[float, float]:
    """Return the least and the greatest value."""
    return float(values.min()), float(values.max())


def _spread(low: float, high: float, image: Image) -> tuple[float, float]:
    """Return a range that is one: a constant image keeps that of its type, as there is nothing to stretch."""
    return (low, high) if low < high else (0.0, full_scale(image.depth))


def sampled(values: Array, most: int = _SAMPLE) -> Array:
    """Return evenly spaced values of an image, at most about so many, in one row."""
    flat = values.reshape(-1)
    return flat[:: max(flat.size // most, 1)]


def percentiles(values: Array, asked: RangeChoice) -> tuple[float, float]:
    """Return the stored values at two percentages; of large images from evenly spaced pixels."""
    assert asked.numbers is not None
    low, high = np.percentile(sampled(values).astype(np.float64), asked.numbers)
    return float(low), float(high)


def _few_bits(image: Image, bits: int) -> tuple[Finding, ...]:
    if bits == _STORED[-1]:
        return ()
    most, white = int(image.pixels.max()), (1 << bits) - 1
    fact = f"{image.name} holds 16-bit values up to {most} and is taken for {bits} bits, white being {white}"
    return (Finding("bits", fact, "{option}LOW:HIGH, data for its own values or dtype for all 16 bits says otherwise"),)


def _stretched(image: Image, found: tuple[float, float]) -> tuple[Finding, ...]:
    fact = f"{image.name} holds values from {found[0]:g} to {found[1]:g}, which are taken for black and white"
    return (Finding("range", fact, "{option}LOW:HIGH, window:CENTER:WIDTH or, for CT, window:brain says what is"),)


def _hot(image: Image, found: tuple[float, float]) -> tuple[Finding, ...]:
    """Return the finding that a few pixels lie so far off that the others use little of the range."""
    values = sampled(image.pixels).astype(np.float64)
    low, high = np.percentile(values, (100 * _HOT_SHARE, 100 - 100 * _HOT_SHARE))
    ends = ends_of(image.pixels)
    if high - low >= _USED_SHARE * (ends[1] - ends[0]) or not low < high:
        return ()
    fact = (
        f"in {image.name} {100 - 200 * _HOT_SHARE:g} % of the pixels lie between {low:g} and {high:g}, and a few as "
        f"far as {ends[0]:g} and {ends[1]:g}, within the range {found[0]:g} to {found[1]:g}"
    )
    return (Finding("outliers", fact, "{option}percentile:0.1:99.9 leaves them out"),)


def inverted(image: Image, limits: tuple[float, float]) -> Image:
    """Return an image whose black is white: values turned over within the range, which stays the same."""
    low, high = limits
    turned = in_bands(lambda band: np.clip(low + high - band.astype(np.float64), low, high), image.pixels)
    pixels = np.rint(turned).astype(image.depth) if image.depth != "float32" else turned.astype(np.float32)
    return Image(pixels, image.color, image.grid, image.origin, (*image.notes, f"inverted within {low:g} to {high:g}"))


def source_range(values: Array, depth: str, policy: Normalization) -> tuple[float, float]:
    """Return the stored values (low, high) that a model has become 0 and 1 where no range is chosen.

    ``minmax`` takes the image's own least and greatest value. ``unit`` takes 0 and the dtype's white; a float image
    with values outside [0, 1] has no white of its own and is stretched. A constant image keeps the dtype's range, as
    there is nothing to stretch.
    """
    low, high = ends_of(values)
    outside = depth == "float32" and (low < 0 or high > 1)
    if low < high and (policy == "minmax" or outside):
        return low, high
    return 0.0, full_scale(depth)


def model_range(image: Image, found: Range, policy: Normalization) -> tuple[float, float]:
    """Return the stored luminances that become 0 and 1 for a model: the range, or what the model stretches.

    A model whose policy is ``minmax`` stretches an image by its own least and greatest luminance where the range was
    not chosen; a range that was chosen holds for every model.
    """
    if policy != "minmax" or parse_range(found.choice).kind != "auto":
        return found.limits
    return source_range(luminance_of(image), image.depth, policy)


def to_unit(values: Array, limits: tuple[float, float]) -> Array:
    """Map stored values to float32 in [0, 1] by black and white; what lies outside is cut."""
    low, high = limits

    def scaled(band: Array) -> Array:
        return np.clip((band.astype(np.float64) - low) / (high - low), 0.0, 1.0).astype(np.float32)

    return in_bands(scaled, values)


def luminance_of(image: Image) -> Array:
    """Return an image's stored grey values, or the luminance of its stored colours: (H, W)."""
    return in_bands(luminance, image.pixels) if image.color else image.pixels


def unit_luminance(image: Image, policy: Normalization) -> Array:
    """Return an image's luminance as a model with this normalisation takes it: (H, W) float32 in [0, 1]."""
    return to_unit(luminance_of(image), model_range(image, find_range(image), policy))


def output_to_unit(image: Array, policy: OutputPolicy) -> Array:
    """Bring a network's raw output to [0, 1]: cut there (``clamp``) or stretch (``minmax``; a constant is cut)."""
    if policy == "minmax":
        low, high = float(image.min()), float(image.max())
        if low < high:
            image = (image - low) / (high - low)
    return np.clip(image, 0.0, 1.0)


def output_range(first: Image, depth: str, limits: tuple[float, float], found: Range) -> tuple[float, float]:
    """Return the stored values that are black and white in what is written.

    Args:
        first: the first source.
        depth: to write. A float image lies on the range of a float source, and on [0, 1] else; integers of the first
            source's depth have its white, as 4095 where 12 bits are stored in 16.
        limits: the stored values of the first source that became 0 and 1.
        found: its range.
    """
    if depth == "float32":
        return limits if first.depth == "float32" else (0.0, 1.0)
    return 0.0, white_of(depth, found) if depth == first.depth else full_scale(depth)


def from_unit(image: Array, depth: str, limits: tuple[float, float]) -> Array:
    """Turn [0, 1] into pixels of ``depth`` whose black and white are ``limits``; integers are rounded."""
    low, high = limits
    if depth == "float32":
        return in_bands(lambda band: (band.astype(np.float64) * (high - low) + low).astype(np.float32), image)
    return np.asarray(np.rint(image * (high - low) + low), dtype=depth)
