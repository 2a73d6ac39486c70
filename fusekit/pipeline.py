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
from fusekit.errors import Doubt, FusekitWarning, InputError, OptionError, size_text
from fusekit.fusing.doubts import about_shares, about_sources, about_weights
from fusekit.fusing.run import Run, run
from fusekit.images import color as bt601
from fusekit.images.align import Aligned, aligned
from fusekit.images.files import read_image
from fusekit.images.image import Array, Image, from_pixels
from fusekit.images.ranges import from_unit, luminance_of, output_to_unit, source_range, to_unit
from fusekit.images.rows import in_bands
from fusekit.machine.faults import in_our_words
from fusekit.models.base import FusionModel
from fusekit.models.load import loaded_model
from fusekit.options import FuseOptions, LoadOptions, overridden
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
        sources: two or more paths, arrays (H, W[, channels]) or tensors ([1, ]C, H, W) or (H, W); integers at their
            full range, floats preferably in [0, 1].
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
    check_roles(loaded.spec, options.roles)
    rule = loaded.choose_rule(options.rule, options.rule_options)
    prepared = prepare(sources, loaded, options)
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
        depth: to write.
        chroma_of: index of the image whose chroma the result takes, or ``None``.
        limits: the stored values of each that become 0 and 1.
        units: luminances (H, W) in [0, 1], float32.
        modalities: what each shows, ``None`` where nothing was said.
        doubts: about the sources.
    """

    layout: Source
    aligned: Aligned
    depth: str
    chroma_of: int | None
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
    modalities = said_modalities(model, len(sources))
    modalities = in_order_of_roles(model.spec, modalities, numbered(options.roles, sources))
    sources = in_order_of_roles(model.spec, sources, options.roles)
    found = aligned([read(source) for source in sources], options.align)
    images = found.images
    axes = len(images[0].size)
    if axes not in model.spec.dims:
        served = " or ".join(str(each) for each in model.spec.dims)
        raise InputError(
            f"{images[0].name} has {axes} spatial axes ({', '.join(images[0].grid.axes)}), and the model "
            f"{model.spec.id!r} fuses images of {served}; choose another model, or cut the image"
        )
    depth = options.depth(images[0].depth)
    chroma_of = chroma_source(images, options.color)
    units, limits = luminances(images, model)
    doubts = about_weights(model, images, [each for each in modalities if each])
    doubts = (*about_sources(images, options.many), *doubts)
    return Prepared(sources[0], found, depth, chroma_of, limits, units, modalities, doubts)


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
    images, limits, depth = prepared.aligned.images, prepared.limits, prepared.depth
    first = images[0]
    unit = output_to_unit(ran.image, model.spec.output)
    # A float output lies on the range of a float source; where the first source is of integers, on [0, 1].
    scale = limits[0] if first.depth == "float32" else (0.0, 1.0)
    if prepared.chroma_of is not None:
        pixels = _colored(unit, images[prepared.chroma_of], depth, first, scale)
    else:
        pixels = from_unit(unit, depth, scale)
    seconds = {**seconds, "total": sum(seconds.values()) + time.perf_counter() - started}
    stored = first.with_pixels(pixels, color=prepared.chroma_of is not None)
    doubts = (*prepared.doubts, *about_shares(model, rule, images, ran))
    record = make_record(
        model,
        prepared.aligned,
        limits,
        rule,
        ran,
        options,
        prepared.chroma_of,
        stored,
        seconds,
        prepared.modalities,
        doubts,
    )
    return Fused(_in_layout_of(prepared.layout, stored), record, stored, doubts)


def read(source: Source) -> Image:
    """Return a path, array or tensor as an `Image`."""
    if isinstance(source, (str, Path)):
        return read_image(source)
    if isinstance(source, Tensor):
        return from_pixels(_array_of(source))
    return from_pixels(np.asarray(source))


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


def luminances(images: Sequence[Image], model: FusionModel) -> tuple[list[Array], list[tuple[float, float]]]:
    """Return luminances (H, W) in [0, 1] as the model takes them, and the stored values that became 0 and 1."""
    units, limits = [], []
    for image in images:
        values = luminance_of(image)
        limits.append(source_range(values, image.depth, model.spec.normalization))
        units.append(to_unit(values, limits[-1]))
    return units, limits


def chroma_source(images: Sequence[Image], color: str) -> int | None:
    """Return the index of the image whose chroma the result takes, or ``None`` for a grey result."""
    if color == "gray":
        return None
    if color == "keep":
        return next((index for index, image in enumerate(images) if image.color), None)
    number = int(color.partition(":")[2])
    if number > len(images):
        raise OptionError(f"color {color!r} asks for source {number}, and there are {len(images)}")
    if not images[number - 1].color:
        raise OptionError(f"color {color!r} asks for the chroma of {images[number - 1].name}, which is grey")
    return number - 1


def _colored(unit: Array, chroma_of: Image, depth: str, first: Image, limits: tuple[float, float]) -> Array:
    """Return RGB pixels of a luminance in [0, 1] and the chroma of an image, on a scale where that one's white is 1.

    A float source has two scales: ``limits``, the range of its luminance, and its black and white, to which the chroma
    belongs; the luminance is brought from the one to the other.
    """
    low, high = source_range(chroma_of.pixels, chroma_of.depth, "unit")
    black, white = limits
    of_floats = depth == first.depth == "float32"
    if of_floats:
        black, white = source_range(first.pixels, first.depth, "unit")

    def painted(unit: Array, pixels: Array) -> Array:
        cbcr = bt601.chroma((pixels.astype(np.float64) - low) / (high - low))
        luminance = (from_unit(unit, depth, limits) - black) / (white - black) if of_floats else unit
        return from_unit(np.clip(bt601.restore(luminance, cbcr), 0.0, 1.0), depth, (black, white))

    return in_bands(painted, unit, chroma_of.pixels)


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
