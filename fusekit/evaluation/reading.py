"""What is rated, brought to what metrics take: luminances in [0, 1], by the ranges that fusing found or was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fusekit.choices import for_each
from fusekit.errors import Doubt, InputError
from fusekit.images.color import luminance
from fusekit.images.files import read_image
from fusekit.images.image import Array, Image, from_pixels
from fusekit.images.ranges import find_range, inverted, white_of
from fusekit.options import MAX_PIXELS
from fusekit.record import read_record

#: A path, an array (H, W) or (H, W, 3), or a tensor (H, W), (1, H, W) or (1, 1, H, W).
ImageLike = str | Path | Array | Tensor
_FUSED = "fused"


class Read(NamedTuple):
    """Images as metrics take them.

    Attributes:
        sources: luminances (1, 1, H, W) in [0, 1], float64.
        fused: likewise.
        images: the sources and then the fused image in stored values, inverted where the record says so.
        ranges: stored values that became 0 and 1, of each of these.
        doubts: what of them only the user can settle.
    """

    sources: list[Tensor]
    fused: Tensor
    images: list[Image]
    ranges: list[tuple[float, float]]
    doubts: tuple[Doubt, ...]


def read_all(
    sources: Sequence[ImageLike],
    fused: ImageLike,
    data_range: str | Sequence[str] = (),
    *,
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Read:
    """Read sources and the image that was fused of them.

    A range is what ``data_range`` says; or else what the record beside the fused image says, of sources for which one
    was chosen, and of the fused image; or else what fusing would find.

    Args:
        sources: paths, arrays or tensors.
        fused: of their size.
        data_range: as the range of `fusekit.FuseOptions`, with ``fused=RANGE`` for the fused image.
        page: which image of files that hold several.
        max_pixels: the most pixels that an image file may have.

    Raises:
        InputError: one cannot be read or used, or the sizes differ.
        OptionError: a range cannot be used.
    """
    given = [data_range] if isinstance(data_range, str) else list(data_range)
    of_fused = [text.partition("=")[2] for text in given if text.startswith(f"{_FUSED}=")]
    asked = for_each([text for text in given if not text.startswith(f"{_FUSED}=")], sources, {}, "--data-range", "")
    named = [(source, f"source {number}", asked[number - 1]) for number, source in enumerate(sources, 1)]
    named.append((fused, "the fused image", of_fused[-1] if of_fused else ""))
    *images, result = [read_one(*each, page=page, max_pixels=max_pixels) for each in named]
    for number, image in enumerate(images, 1):
        if image.size != result.size:
            raise InputError(
                f"{_called(image, f'source {number}')} is {_size(image)} pixels (height×width) and "
                f"{_called(result, 'the fused image')} {_size(result)}; register them to one size first"
            )
    record = read_record(Path(fused)) if isinstance(fused, (str, Path)) else None
    ranges: list[tuple[float, float]] = []
    doubts: list[Doubt] = []
    for place, image in enumerate(images):
        told = None if record is None else _told(record, image)
        if told is not None and told.get("inverted"):
            images[place] = image = inverted(image, _pair(told["range"]))
        found = find_range(image, asked[place] or _chosen(told))
        ranges.append(found.limits)
        doubts += found.doubts
    limits, more = _range_of_fused(result, of_fused, record, images, ranges)
    tensors = [to_tensor(image, each) for image, each in zip(images, ranges, strict=True)]
    return Read(tensors, to_tensor(result, limits), [*images, result], [*ranges, limits], (*doubts, *more))


def read_one(
    given: ImageLike, role: str, data_range: str = "", *, page: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image:
    """Return an image in its stored values; messages call it ``role``.

    Raises:
        InputError: it cannot be read or used.
    """
    if isinstance(given, (str, Path)):
        return read_image(given, page=page, max_pixels=max_pixels)
    pixels = _tensor_pixels(given, role) if isinstance(given, Tensor) else np.asarray(given)
    try:
        return from_pixels(pixels if data_range else _eight_bit(pixels))
    except InputError as error:
        raise InputError(f"{role}: {error}") from error


def to_tensor(image: Image, limits: tuple[float, float]) -> Tensor:
    """Return the luminance (1, 1, H, W) in [0, 1], float64; what lies outside the range is cut."""
    low, high = limits
    unit = np.clip((image.pixels.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return torch.from_numpy(luminance(unit) if image.color else unit)[None, None]


def _told(record: dict[str, Any], image: Image) -> dict[str, Any] | None:
    """Return what a record tells of a source, found by its digest; ``None`` where it tells of others."""
    digest = "" if image.origin is None else image.origin.sha256
    found = (each for each in record.get("sources", ()) if isinstance(each, dict) and digest)
    return next((each for each in found if each.get("sha256") == digest), None)


def _chosen(told: dict[str, Any] | None) -> str:
    """Return the range that was chosen when a source was fused, ``auto`` where none was."""
    choice = "auto" if told is None else str(told.get("range_choice", "auto"))
    if told is None or choice.startswith("auto"):
        return choice
    low, high = _pair(told["range"])
    return f"{low!r}:{high!r}"


def _pair(values: Any) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _range_of_fused(
    image: Image,
    asked: Sequence[str],
    record: dict[str, Any] | None,
    sources: Sequence[Image],
    ranges: Sequence[tuple[float, float]],
) -> tuple[tuple[float, float], tuple[Doubt, ...]]:
    """Return the range of a fused image, and what of it is in doubt."""
    if asked:
        return find_range(image, asked[-1]).limits, ()
    output = {} if record is None else record.get("output", {})
    if isinstance(output, dict) and output.get("range") and output.get("depth") == image.depth:
        return _pair(output["range"]), ()
    found = find_range(image)
    alike = [place for place, source in enumerate(sources) if source.depth == image.depth]
    if image.depth != "float32":
        # A dark image fused of 12 bits is one of 12 bits.
        white = max([found.high, *(white_of(sources[place]) for place in alike)])
        return (0.0, white), found.doubts if white == found.high else ()
    if not found.doubts or not alike:
        return found.limits, found.doubts
    limits = ranges[alike[0]]
    text = (
        f"{_called(image, 'the fused image')} holds values from {found.low:g} to {found.high:g} and has no record; it "
        f"is taken to lie on the range of source {alike[0] + 1}, {limits[0]:g} to {limits[1]:g}; --data-range "
        "fused=LOW:HIGH says otherwise"
    )
    return limits, (Doubt("fused", text),)


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
            "give uint8, uint16, floats in [0, 1], or a data_range, so that white is known"
        )
    return pixels.astype(np.uint8)


def _called(image: Image, role: str) -> str:
    return f"{role} ({image.path})" if image.path is not None else role


def _size(image: Image) -> str:
    return "×".join(str(side) for side in image.size)
