"""START HERE: the way of the data through fusekit, one direction, no way back.

    paths / arrays / tensors
      → read        pixels, colour, depth                      (fusekit.images.files)
      → align       one grid, or brought onto it where asked   (fusekit.images.align)
      → luminance   in [0, 1], chroma kept aside               (fusekit.images.color, fusekit.images.ranges)
      → model.fuse  encode each, rule, decode                  (fusekit.models.base)
      → chroma      restored
      → pixels      size and depth of the first source, with a record of all that was done

`fuse` is that list as code.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, overload

import numpy as np
import torch
from torch import Tensor

from fusekit.cases.case import check_distinct_files
from fusekit.cases.roles import check_roles, in_order_of_roles, numbered
from fusekit.choices import for_each, number_of, parse_color
from fusekit.errors import Doubt, FusekitWarning, InputError, OptionError, size_text
from fusekit.fusing.doubts import about_shares, about_sources, about_weights
from fusekit.fusing.run import Run, run
from fusekit.images.align import Aligned, aligned
from fusekit.images.coloring import (
    Coloring,
    choose_coloring,
    noting_grey,
    overlaid,
    with_chroma,
    with_hue,
)
from fusekit.images.files import check_page, is_page, read_image
from fusekit.images.image import Array, Image, from_pixels, unmasked, with_background
from fusekit.images.ranges import (
    Range,
    doubts_about,
    find_range,
    from_unit,
    inverted,
    luminance_of,
    model_range,
    output_range,
    output_to_unit,
    to_unit,
)
from fusekit.images.rows import in_bands
from fusekit.machine.faults import in_our_words
from fusekit.models.base import FusionModel
from fusekit.models.load import loaded_model
from fusekit.options import MAX_PIXELS, FuseOptions, LoadOptions, overridden
from fusekit.record import about_record, make_record, save_with_record
from fusekit.registry.specs import modalities_of
from fusekit.rules.base import FusionRule

if TYPE_CHECKING:
    from typing_extensions import TypeVar, Unpack

    from fusekit.options import Choices

    # What is fused from paths and arrays is an array, from tensors a tensor.
    Pixels = TypeVar("Pixels", default=Any, covariant=True)
else:
    from typing import TypeVar

    Pixels = TypeVar("Pixels", covariant=True)

Source: TypeAlias = "str | Path | Array | Tensor"


@dataclass(frozen=True, repr=False)
class Fused(Generic[Pixels]):
    """A fused image and the record of how it came about: ``image, record = fusekit.fuse(...)`` unpacks the two.

    Attributes:
        image: (H, W), or (H, W, 3) RGB where chroma was restored, in the first source's type and depth. A tensor in
            the first source's layout if that was a tensor.
        record: sources, model, weights, rule and its weights, ranges, device, versions, seconds; JSON-able.
        stored: the image with its grid and the first source's header, as it is written.
        doubts: what nobody but the user can settle; the record has their texts.
    """

    image: Pixels
    record: dict[str, Any]
    stored: Image
    doubts: tuple[Doubt, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter((self.image, self.record))

    def __repr__(self) -> str:
        rule = self.record["rule"]
        by = f", rule {rule['name']!r}" if rule else ""
        colour = "colour, " if self.stored.color else ""
        return (
            f"Fused({size_text(self.stored.size)}, {colour}{self.stored.depth}, {self.record['model']['name']!r}{by})"
        )

    def save(self, path: str | Path, *, record: bool = True, overwrite: bool = False) -> dict[str, Any]:
        """Write the image, and beside it ``PATH.json`` with the record; both are there at the end, or neither.

        Args:
            path: the image's file; its extension chooses the format.
            record: whether to write the record.
            overwrite: whether to replace an image that is there already. What fusekit did not write beside it stays.

        Returns:
            the record as it is written, with the SHA-256 digest of the image's file.

        Raises:
            OutputError: something is there already, or the image cannot be written.
        """
        target = Path(path)
        written = save_with_record(target, self.stored, self.record, beside=record, overwrite=overwrite)
        for doubt in () if record else about_record(target):
            warnings.warn(doubt.text, FusekitWarning, stacklevel=2)
        return written


@overload
def fuse(
    sources: Sequence[Tensor],
    model: str | Path | FusionModel = ...,
    options: FuseOptions | None = None,
    **choices: Unpack[Choices],
) -> Fused[Tensor]: ...


@overload
def fuse(
    sources: Sequence[str | Path | Array],
    model: str | Path | FusionModel = ...,
    options: FuseOptions | None = None,
    **choices: Unpack[Choices],
) -> Fused[Array]: ...


@overload
def fuse(
    sources: Sequence[Source],
    model: str | Path | FusionModel = ...,
    options: FuseOptions | None = None,
    **choices: Unpack[Choices],
) -> Fused[Any]: ...


@in_our_words
def fuse(
    sources: Sequence[Source],
    model: str | Path | FusionModel | None = None,
    options: FuseOptions | None = None,
    **choices: Unpack[Choices],
) -> Fused[Any]:
    """Fuse registered images of one scene into one: the steps of the data's way, one a line.

    Args:
        sources: two or more paths, arrays (H, W[, channels]) or tensors ([1, ]C, H, W) or (H, W). Their black and
            white are what ``range`` says; by default 8 bits are 0 to 255, 16 hold as many as are used, floats in [0, 1]
            are 0 to 1, and others have their own least and greatest value.
        model: as `fusekit.load` takes it, or a model that it returned (then no choice of loading applies); by default
            the one that the ``weights`` say, or else the default one.
        options: how to fuse.
        choices: fields of `FuseOptions`, which overrule ``options``, and of `LoadOptions`.

    Returns:
        the fused image with its record.

    Raises:
        FusekitError: one of its kinds, with a message that names the file, the fact and the remedy.
    """
    started = time.perf_counter()
    options = overridden(FuseOptions, options, choices, LoadOptions)
    if isinstance(sources, (str, Path, Tensor, np.ndarray)):
        raise InputError("give the sources as a list of two or more")
    loaded = loaded_model(model, choices)
    loaded.check_count(len(sources))
    rule = loaded.choose_rule(options.rule, options.rule_options)
    check_roles(loaded.spec, options.roles)
    prepared = prepare(sources, loaded, options)
    check_page(options.page, prepared.paged)
    read_at = time.perf_counter()
    (ran,) = run(loaded, [prepared.units], rule, options)
    fused_at = time.perf_counter()
    seconds = {"read": read_at - started, "fuse": fused_at - read_at}
    fused = finish(prepared, loaded, rule, options, ran, seconds)
    for doubt in fused.doubts:
        warnings.warn(doubt.text, FusekitWarning, stacklevel=3)
    return fused


class Prepared(NamedTuple):
    """The sources of one fusion, read and brought to what a model takes.

    Attributes:
        layout: the first source as it was given.
        aligned: the sources as they were read, on one grid.
        paged: whether one of them is a page of a file that holds several.
        depth: to write.
        coloring: how the result is coloured.
        ranges: of each source.
        limits: the stored values of each that become 0 and 1: its range, or what the model stretches.
        units: luminances (H, W) in [0, 1], float32, of each.
        modalities: what each shows, ``None`` where nothing was said.
        doubts: about the sources.
    """

    layout: Source
    aligned: Aligned
    paged: bool
    depth: str
    coloring: Coloring
    ranges: list[Range]
    limits: list[tuple[float, float]]
    units: list[Array]
    modalities: list[str | None]
    doubts: tuple[Doubt, ...]


def prepare(sources: Sequence[Source], model: FusionModel, options: FuseOptions) -> Prepared:
    """Read the sources, in the order of the model's roles, and bring them onto one grid and to [0, 1].

    Raises:
        InputError: one cannot be read, the grids differ, or the model does not fuse images of so many axes.
    """
    check_distinct_files(sources)
    asked = _asked(sources, model, options)
    images = [
        read(each.source, options.nan, options.page, options.max_pixels, inverted=each.inverted) for each in asked
    ]
    paged = any(map(is_page, images))
    found = aligned(images, options.align)
    images = found.images
    axes = len(images[0].size)
    if axes not in model.spec.dims:
        served = " or ".join(str(each) for each in model.spec.dims)
        raise InputError(
            f"{images[0].name} has {axes} spatial axes ({', '.join(images[0].grid.axes)}), and the model "
            f"{model.spec.id!r} fuses images of {served}; choose another model, or cut the image"
        )
    ranges = [find_range(image, each.range) for image, each in zip(images, asked, strict=True)]
    for place, each in enumerate(asked):
        if each.inverted:
            images[place] = inverted(images[place], ranges[place].limits)
            ranges[place] = ranges[place]._replace(inverted=True)
    modalities = [each.modality for each in asked]
    coloring = choose_coloring(images, ranges, parse_color(options.color), modalities)
    images[:] = noting_grey(images, coloring)
    units, limits = luminances(images, ranges, model)
    coloured = [image for image, amount in zip(images, coloring.amounts, strict=True) if amount.coloured]
    doubts = (
        *about_sources(images, options.many),
        *about_weights(model, coloured, [each for each in modalities if each]),
        *doubts_about(ranges),
        *coloring.doubts,
    )
    depth = options.depth(images[0].depth)
    return Prepared(asked[0].source, found, paged, depth, coloring, ranges, limits, units, modalities, doubts)


class _Asked(NamedTuple):
    """A source, and what was said of it."""

    source: Source
    range: str
    inverted: bool
    modality: str | None


def _asked(sources: Sequence[Source], model: FusionModel, options: FuseOptions) -> list[_Asked]:
    """Return the sources with what was said of each, in the order of the model's roles.

    Raises:
        OptionError: something was said of a source that is not there.
    """
    roles = numbered(options.roles, sources)
    ranges = for_each(options.range, sources, roles, "--range", "auto")
    negatives = {number_of(each, sources, roles, "--invert") for each in options.invert}
    turned = [number in negatives for number in range(1, len(sources) + 1)]
    modalities = said_modalities(model, len(sources))
    every = [_Asked(*each) for each in zip(sources, ranges, turned, modalities, strict=True)]
    return in_order_of_roles(model.spec, every, roles)


def finish(
    prepared: Prepared,
    model: FusionModel,
    rule: FusionRule | None,
    options: FuseOptions,
    ran: Run,
    seconds: Mapping[str, float],
) -> Fused:
    """Bring the network's raw output to pixels like the first source's, and make the record.

    ``seconds`` holds what ``read`` and ``fuse`` took; the record's ``total`` adds what this function takes.
    """
    started = time.perf_counter()
    images, depth, coloring = prepared.aligned.images, prepared.depth, prepared.coloring
    first = images[0]
    unit = output_to_unit(ran.image, model.spec.output)
    scale = output_range(first, depth, prepared.limits[0], prepared.ranges[0])
    if coloring.source is None:
        pixels = from_unit(unit, depth, scale)
    else:
        pixels, scale = _colored(unit, prepared, coloring, scale)
    seconds = {**seconds, "total": sum(seconds.values()) + time.perf_counter() - started}
    stored = first.with_pixels(pixels, color=coloring.source is not None)
    doubts = (*prepared.doubts, *about_shares(model, rule, images, ran))
    record = make_record(
        model,
        prepared.aligned,
        prepared.ranges,
        prepared.limits,
        rule,
        ran,
        options,
        coloring,
        stored,
        scale,
        seconds,
        prepared.modalities,
        doubts,
    )
    return Fused(_in_layout_of(prepared.layout, stored), record, stored, doubts)


def read(
    source: Source,
    nan: str = "refuse",
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
    *,
    inverted: bool = False,
) -> Image:
    """Return a path, array or tensor as an `Image`.

    Args:
        source: in colour, grey, or a masked array.
        nan: whether values that are NaN, infinite or masked are refused or taken for ``background``.
        page: of a file, as `read_image` says.
        max_pixels: likewise.
        inverted: whether black is white in it, which is then its background.
    """
    finite = nan == "refuse"
    if isinstance(source, (str, Path)):
        image = read_image(source, finite=finite, page=page, max_pixels=max_pixels)
    else:
        pixels, notes = unmasked(_array_of(source) if isinstance(source, Tensor) else source, nan, inverted)
        image = from_pixels(pixels, notes=notes, finite=finite)
    return image if finite else with_background(image, inverted)


def said_modalities(model: FusionModel, count: int) -> list[str | None]:
    """Return what the user said that each of ``count`` sources shows, where the model was loaded.

    Raises:
        OptionError: it was said of another number of sources.
    """
    asked = None if model.provenance is None else model.provenance.options.modality
    found = modalities_of(asked)
    if found and len(found) != count:
        raise OptionError(
            f"the modality is said of {len(found)} sources ({', '.join(found)}), and there are {count}; name one each"
        )
    return list(found) or [None] * count


def luminances(
    images: Sequence[Image], ranges: Sequence[Range], model: FusionModel
) -> tuple[list[Array], list[tuple[float, float]]]:
    """Return luminances (H, W) in [0, 1] as the model takes them, and the stored values that became 0 and 1."""
    limits = [model_range(image, found, model.spec.normalization) for image, found in zip(images, ranges, strict=True)]
    units = [to_unit(luminance_of(image), each) for image, each in zip(images, limits, strict=True)]
    return units, limits


def _colored(
    unit: Array, prepared: Prepared, coloring: Coloring, scale: tuple[float, float]
) -> tuple[Array, tuple[float, float]]:
    """Return RGB pixels of a luminance in [0, 1], and the stored values that are black and white in them.

    A float source has two scales: that of its luminance, and its black and white, to which colours belong; the
    luminance is brought from the one to the other.
    """
    assert coloring.source is not None
    first, depth, choice = prepared.aligned.images[0], prepared.depth, coloring.choice
    source = prepared.aligned.images[coloring.source]
    if choice.mode == "overlay":
        shown = overlaid(unit, prepared.units[coloring.source], choice.color_map, choice.alpha)
        return from_unit(shown, depth, scale), scale
    own = scale
    if depth == first.depth == "float32":
        own = prepared.ranges[0].limits
    low, high = prepared.ranges[coloring.source].limits
    colours = in_bands(lambda band: (band.astype(np.float64) - low) / (high - low), source.pixels)
    if choice.mode == "hue":
        return from_unit(with_hue(unit, prepared.units[coloring.source], colours), depth, own), own
    if own != scale:
        unit = (from_unit(unit, depth, scale) - own[0]) / (own[1] - own[0])
    return from_unit(with_chroma(unit, colours), depth, own), own


def _array_of(tensor: Tensor) -> Array:
    """Return a tensor (H, W), (C, H, W) or (1, C, H, W) as an array (H, W) or (H, W, C)."""
    array: Array = tensor.detach().cpu().numpy() if tensor.dtype != torch.bfloat16 else tensor.float().cpu().numpy()
    if array.ndim == 4:
        if array.shape[0] != 1:
            raise InputError(
                f"a tensor of shape {tuple(tensor.shape)} holds {array.shape[0]} images; fuse batches with model.fuse"
            )
        array = array[0]
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _in_layout_of(source: Source, image: Image) -> Any:
    """Return an image's pixels as an array, or as a tensor with the axes of ``source`` if that is a tensor."""
    if not isinstance(source, Tensor):
        return image.pixels
    tensor = torch.from_numpy(image.pixels)
    if source.dim() == 2 and not image.color:
        return tensor
    channels_first = tensor.movedim(-1, 0) if image.color else tensor[None]
    return channels_first[None] if source.dim() == 4 else channels_first
