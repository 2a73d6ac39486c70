"""What is rated, brought to what metrics take: luminances in [0, 1], by the ranges that fusing found or was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fusekit.choices import for_each, parse_range
from fusekit.errors import Doubt, InputError, OptionError
from fusekit.evaluation.recorded import Record, record_of, told_of
from fusekit.images.color import luminance
from fusekit.images.files import read_image
from fusekit.images.image import Array, Image, check_finite, from_pixels, unmasked, with_background
from fusekit.images.ranges import Finding, Range, doubts_about, find_range, inverted, white_of
from fusekit.options import MAX_PIXELS, as_texts, check_nan, check_reading

#: A path, an array (H, W) or (H, W, 3), or a tensor (H, W), (1, H, W) or (1, 1, H, W).
ImageLike = str | Path | Array | Tensor
OPTION = "--data-range"
_FUSED = "fused"


class DataRanges(NamedTuple):
    """What the user said of ranges.

    Attributes:
        sources: of each source, as the range of `fusekit.FuseOptions`; empty where nothing was said.
        fused: of the fused image, likewise.
        found: of each source, what was found in all images of its folder, for where neither user nor record says more.
    """

    sources: tuple[str, ...]
    fused: str = ""
    found: tuple[str, ...] = ()


def asked_ranges(data_range: str | Sequence[str], sources: Sequence[Any], *, folders: bool = False) -> DataRanges:
    """Return what was said of the range of each source and of the fused image.

    Args:
        data_range: one for all sources, one a source, or ``SOURCE=RANGE``; and ``fused=RANGE``.
        sources: paths or whatever else.
        folders: whether they are folders, of which a range may be found.

    Raises:
        OptionError: one is no range, or of none of the images.
    """
    given = as_texts(data_range, "data_range")
    of_fused = [text.partition("=")[2] for text in given if text.startswith(f"{_FUSED}=")]
    if len(of_fused) > 1:
        raise OptionError(f"{OPTION} is given twice for the fused image; leave one out")
    of_sources = for_each([text for text in given if not text.startswith(f"{_FUSED}=")], sources, {}, OPTION, "")
    for text in (*of_sources, *of_fused):
        if text and parse_range(text).kind == "folder" and (text in of_fused or not folders):
            raise OptionError(f"the range {text!r} is found from the images of a source's folder; give folders")
    return DataRanges(tuple(of_sources), "".join(of_fused))


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
    data_range: str | Sequence[str] | DataRanges = (),
    *,
    nan: str = "refuse",
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
        nan: whether values that are NaN, infinite or masked are refused (unless they were taken for background when
            the image was fused, as its record says) or taken for ``background``.
        page: which image of files that hold several.
        max_pixels: the most pixels that an image file may have.

    Raises:
        InputError: one cannot be read or used, or the sizes differ.
        OptionError: a range cannot be used.
    """
    check_nan(nan)
    check_reading(page, max_pixels)
    asked = data_range if isinstance(data_range, DataRanges) else asked_ranges(data_range, sources)
    result = read_one(fused, "the fused image", asked.fused, nan=nan, page=page, max_pixels=max_pixels)
    record = record_of(Path(fused), result) if isinstance(fused, (str, Path)) else Record({})
    nan = "background" if record.background else nan
    images = [
        read_one(source, f"source {number}", text, nan=nan, page=page, max_pixels=max_pixels)
        for number, (source, text) in enumerate(zip(sources, asked.sources, strict=True), 1)
    ]
    for number, image in enumerate(images, 1):
        if image.size != result.size:
            raise InputError(
                f"{_called(image, f'source {number}')} is {_size(image)} pixels (height×width) and "
                f"{_called(result, 'the fused image')} {_size(result)}; register them to one size first"
            )
    told, doubts = told_of(record, images)
    found: list[Range] = []
    for place, each in enumerate(told):
        image = settled(images[place], f"source {place + 1}", nan, each.inverted)
        of_folder = asked.found[place] if asked.found else "auto"
        found.append(find_range(image, asked.sources[place] or each.range or of_folder))
        images[place] = inverted(image, found[-1].limits) if each.inverted else image
    result = settled(result, "the fused image", nan)
    found.append(_range_of_fused(result, asked.fused, record, images, found))
    images.append(result)
    tensors = [to_tensor(image, each.limits) for image, each in zip(images, found, strict=True)]
    of_ranges = (*doubts_about(found[:-1], f"{OPTION} "), *doubts_about(found[-1:], f"{OPTION} {_FUSED}="))
    doubts = (*record.doubts, *doubts, *of_ranges)
    return Read(tensors[:-1], tensors[-1], images, [each.limits for each in found], doubts)


def read_one(
    given: ImageLike,
    role: str,
    data_range: str = "",
    *,
    nan: str = "refuse",
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """Return an image in its stored values, which are not yet `settled`; messages call it ``role``.

    Raises:
        InputError: it cannot be read or used.
    """
    if isinstance(given, (str, Path)):
        return read_image(given, finite=False, page=page, max_pixels=max_pixels)
    try:
        pixels, notes = unmasked(_tensor_pixels(given, role) if isinstance(given, Tensor) else given, nan)
        return from_pixels(pixels if data_range else _eight_bit(pixels), notes=notes, finite=False)
    except InputError as error:
        raise InputError(f"{role}: {error}") from error


def settled(image: Image, role: str, nan: str = "refuse", inverted: bool = False) -> Image:
    """Return an image whose values are all numbers; arguments as of `read_all` and `with_background`.

    Raises:
        InputError: some are NaN or infinite, and are to be refused, or all are.
    """
    if nan == "background":
        return with_background(image, inverted)
    check_finite(image.pixels, image.name if image.path is not None else f"{role}: {image.name}")
    return image


def read_settled(path: Path, *, nan: str, page: int | None, max_pixels: int) -> Image:
    """Return the image of a file, all of whose values are numbers; arguments and errors as of `read_all`."""
    return settled(read_one(path, "the image", page=page, max_pixels=max_pixels), "the image", nan)


def to_tensor(image: Image, limits: tuple[float, float]) -> Tensor:
    """Return the luminance (1, 1, H, W) in [0, 1], float64; what lies outside the range is cut."""
    low, high = limits
    unit = (image.pixels.astype(np.float64) - low) / (high - low)
    return torch.from_numpy(np.clip(luminance(unit) if image.color else unit, 0.0, 1.0))[None, None]


def _range_of_fused(
    image: Image, asked: str, record: Record, sources: Sequence[Image], ranges: Sequence[Range]
) -> Range:
    """Return the range of a fused image, with what of it is in doubt."""
    if asked:
        return find_range(image, asked)
    if record.limits is not None:
        return Range(*record.limits)
    found = find_range(image)
    alike = [each for source, each in zip(sources, ranges, strict=True) if source.depth == image.depth]
    if image.depth == "float32" and alike and any(each.kind == "range" for each in found.findings):
        limits = alike[0].limits
        fact = (
            f"{_called(image, 'the fused image')} holds values from {found.low:g} to {found.high:g} and has no record, "
            f"and is taken to lie on the range of the first source of floats, {limits[0]:g} to {limits[1]:g}"
        )
        return Range(*limits, findings=(Finding("fused", fact, "{option}LOW:HIGH says otherwise"),))
    # A dark image fused of 12 bits is one of 12 bits; what is said of the sources need not be said of it.
    white = max([found.high, *(white_of(image.depth, each) for each in alike)])
    said = {finding.kind for each in alike for finding in each.findings}
    left = () if white > found.high else tuple(each for each in found.findings if each.kind not in said)
    return found._replace(high=white, findings=left)


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
