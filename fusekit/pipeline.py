"""START HERE: the way of the data through fusekit, one direction, no way back.

    paths / arrays / tensors
      → read        pixels, colour, depth                      (fusekit.io)
      → align       one size, or resampled where asked         (fusekit.geometry)
      → luminance   in [0, 1], chroma kept aside               (fusekit.color, fusekit.ranges)
      → model.fuse  encode each, rule, decode                  (fusekit.model)
      → chroma      restored
      → pixels      size and depth of the first source, with a record of all that was done

`fuse` is that list as code.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fusekit import color as bt601
from fusekit.bands import in_bands
from fusekit.errors import InputError, OptionError
from fusekit.geometry import crop_to, pad_to_multiple, resize_to, size_text
from fusekit.io.image import Array, Image, from_pixels, full_scale
from fusekit.io.reading import read_image
from fusekit.loading import load
from fusekit.model import FusionModel
from fusekit.ranges import from_unit, luminance_of, output_to_unit, source_range, to_unit
from fusekit.record import make_record, save_with_record
from fusekit.rules.base import FusionRule
from fusekit.tiled import fuse_tiled
from fusekit.tiling import NotTiled, make_plan, parse_memory, parse_tile
from fusekit.weight_summary import WeightSummary

Source: TypeAlias = "str | Path | Array | Tensor"
BIT_DEPTHS = {"8": "uint8", "16": "uint16", "float": "float32"}


class Run(NamedTuple):
    """What came of running a model.

    Attributes:
        image: its raw output (H, W), float32.
        weights: of the rule, one summary a feature map, or ``None`` for a rule without weights.
        report: of the rule.
        tiles: how the image was cut, or why it was not although it may take more memory than allowed, for the record;
            ``None`` for an image that was small enough.
    """

    image: Array
    weights: list[WeightSummary] | None
    report: dict[str, Any]
    tiles: dict[str, Any] | None


class Fused(NamedTuple):
    """A fused image and the record of how it came about.

    Attributes:
        image: (H, W), or (H, W, 3) RGB where chroma was restored, in the first source's type and depth. A tensor in
            the first source's layout if that was a tensor.
        record: sources, model, weights, rule and its weights, ranges, device, versions, seconds; JSON-able.
    """

    image: Any
    record: dict[str, Any]

    def save(self, path: str | Path, *, record: bool = True) -> None:
        """Write the image, and beside it ``PATH.json`` with the record; both atomically."""
        pixels = self.image
        if isinstance(pixels, Tensor):
            pixels = _array_of(pixels)
        save_with_record(Path(path), pixels, self.record if record else None)


@dataclass(frozen=True)
class Options:
    """Choices of the pipeline that are not the model's.

    Attributes:
        color: ``keep`` restores the chroma of the first coloured source, ``gray`` leaves it out, ``from:N`` takes that
            of source N, counted from 1.
        resize: ``None`` refuses sources of different size, ``first`` resamples them to the first one's.
        bit_depth: ``8``, ``16`` or ``float``; ``None`` for the first source's.
        tile: ``auto`` fuses in tiles where the whole may take more than ``memory``; ``off``, or a side in pixels.
        memory: bytes, or a text such as ``2GiB``, that fusing may take beside Python and the images themselves;
            ``None`` for 2 GiB on a CPU and half of what is free on a CUDA device.
    """

    color: str = "keep"
    resize: str | None = None
    bit_depth: str | None = None
    tile: str | int = "auto"
    memory: str | int | None = None

    def __post_init__(self) -> None:
        form = self.color.partition(":")
        if self.color not in ("keep", "gray") and not (form[0] == "from" and form[2].isdigit() and int(form[2]) > 0):
            raise OptionError(f"unknown color {self.color!r}; choose keep, gray or from:N with N counted from 1")
        if self.resize not in (None, "first"):
            raise OptionError(f"unknown resize {self.resize!r}; choose first, or leave it out")
        if self.bit_depth is not None and str(self.bit_depth) not in BIT_DEPTHS:
            raise OptionError(f"unknown bit depth {self.bit_depth!r}; choose {', '.join(BIT_DEPTHS)}")
        parse_tile(self.tile)
        parse_memory(self.memory)

    def depth(self, first: Image) -> str:
        """Return the depth to write: what was asked for, or the first source's."""
        return BIT_DEPTHS[str(self.bit_depth)] if self.bit_depth is not None else first.depth


def fuse(
    sources: Sequence[Source],
    model: str | Path | FusionModel = "ehdran",
    rule: str | FusionRule | None = None,
    weights: str | Path | None = None,
    *,
    rule_options: Mapping[str, Any] | None = None,
    edge: str | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str = "float32",
    backend: str = "auto",
    color: str = "keep",
    resize: str | None = None,
    bit_depth: str | None = None,
    tile: str | int = "auto",
    memory: str | int | None = None,
) -> Fused:
    """Fuse registered images of one scene into one.

    Args:
        sources: two or more paths, arrays (H, W[, channels]) or tensors ([1, ]C, H, W) or (H, W); integers at their
            full range, floats preferably in [0, 1].
        model: a name, or a model that `fusekit.load` returned (then the choices of loading do not apply).
        rule: fusion rule; ``None`` for the model's default.
        weights: as in `fusekit.load`.
        rule_options: as in `fusekit.load`.
        edge: as in `fusekit.load`.
        encoder_options: as in `fusekit.load`.
        device: as in `fusekit.load`.
        dtype: as in `fusekit.load`.
        backend: as in `fusekit.load`.
        color: as in `Options`.
        resize: as in `Options`.
        bit_depth: as in `Options`.
        tile: as in `Options`.
        memory: as in `Options`.

    Returns:
        the fused image with its record.

    Raises:
        FusekitError: one of its kinds, with a message that names the file, the fact and the remedy.
    """
    started = time.perf_counter()
    options = Options(color, resize, bit_depth, tile, memory)
    if isinstance(sources, (str, Path, Tensor, np.ndarray)):
        raise InputError("give the sources as a list of two or more")
    if isinstance(model, FusionModel):
        if weights is not None or edge is not None or encoder_options:
            raise OptionError("weights, edge and encoder_options belong to load(); this model is loaded already")
        loaded = model
    else:
        loaded = load(
            model,
            weights=weights,
            edge=edge,
            encoder_options=encoder_options,
            device=device,
            dtype=dtype,
            backend=backend,
        )
    return fuse_loaded(sources, loaded, rule, rule_options, options, started=started)


def fuse_loaded(
    sources: Sequence[Source],
    model: FusionModel,
    rule: str | FusionRule | None = None,
    rule_options: Mapping[str, Any] | None = None,
    options: Options | None = None,
    *,
    started: float | None = None,
) -> Fused:
    """Do as `fuse` with a model that is loaded: the steps of the data's way, one a line."""
    started = started if started is not None else time.perf_counter()
    options = options or Options()
    model.check_count(len(sources))
    chosen = model.choose_rule(rule, rule_options)
    prepared = prepare(sources, model, options)
    read_at = time.perf_counter()
    ran = run_model(model, prepared.units, chosen, options)
    fused_at = time.perf_counter()
    seconds = {"read": read_at - started, "fuse": fused_at - read_at}
    return finish(prepared, model, chosen, options, ran, seconds)


class Prepared(NamedTuple):
    """The sources of one fusion, read and brought to what a model takes.

    Attributes:
        layout: the first source as it was given.
        images: as they were read, at one size.
        depth: to write.
        chroma_of: index of the image whose chroma the result takes, or ``None``.
        limits: the stored values of each that become 0 and 1.
        units: luminances (H, W) in [0, 1], float32.
    """

    layout: Source
    images: list[Image]
    depth: str
    chroma_of: int | None
    limits: list[tuple[float, float]]
    units: list[Array]


def prepare(sources: Sequence[Source], model: FusionModel, options: Options) -> Prepared:
    """Read the sources and bring them to one size and to [0, 1]."""
    images = aligned([read(source) for source in sources], options.resize)
    depth = options.depth(images[0])
    chroma_of = chroma_source(images, options.color)
    units, limits = luminances(images, model)
    return Prepared(sources[0], images, depth, chroma_of, limits, units)


def finish(
    prepared: Prepared,
    model: FusionModel,
    rule: FusionRule | None,
    options: Options,
    ran: Run,
    seconds: Mapping[str, float],
) -> Fused:
    """Bring the network's raw output to pixels like the first source's, and make the record.

    ``seconds`` holds what ``read`` and ``fuse`` took; the record's ``total`` adds what this function takes.
    """
    started = time.perf_counter()
    first, limits, depth = prepared.images[0], prepared.limits, prepared.depth
    unit = output_to_unit(ran.image, model.spec.output)
    # A float output lies on the range of a float source; where the first source is of integers, on [0, 1].
    scale = limits[0] if first.depth == "float32" else (0.0, 1.0)
    if prepared.chroma_of is not None:
        pixels = _colored(unit, prepared.images[prepared.chroma_of], depth, first, scale)
    else:
        pixels = from_unit(unit, depth, scale)
    seconds = {**seconds, "total": sum(seconds.values()) + time.perf_counter() - started}
    record = make_record(model, prepared.images, limits, rule, ran, options, prepared.chroma_of, pixels, seconds)
    return Fused(_in_layout_of(prepared.layout, pixels), record)


def read(source: Source) -> Image:
    """Return a path, array or tensor as an `Image`."""
    if isinstance(source, (str, Path)):
        return read_image(source)
    if isinstance(source, Tensor):
        return from_pixels(_array_of(source))
    return from_pixels(np.asarray(source))


def aligned(images: list[Image], resize: str | None) -> list[Image]:
    """Return the images at one size: checked, or resampled to the first one's where ``resize`` is ``first``.

    Raises:
        InputError: the sizes differ and nothing was said of resampling.
    """
    first = images[0]
    for index, image in enumerate(images[1:], start=2):
        if image.size != first.size and resize is None:
            raise InputError(
                f"the sources differ in size: {first.name} is {size_text(first.size)} and {image.name} "
                f"(source {index}) is {size_text(image.size)} pixels; register them first, or resample with "
                "--resize first"
            )
    return [image if image.size == first.size else _resampled(image, first.size) for image in images]


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
        return next((index for index, image in enumerate(images) if image.is_color), None)
    number = int(color.partition(":")[2])
    if number > len(images):
        raise OptionError(f"color {color!r} asks for source {number}, and there are {len(images)}")
    if not images[number - 1].is_color:
        raise OptionError(f"color {color!r} asks for the chroma of {images[number - 1].name}, which is grey")
    return number - 1


def run_model(
    model: FusionModel, units: Sequence[Array], rule: FusionRule | None, options: Options | None = None
) -> Run:
    """Run the network on luminances (H, W) in [0, 1], whole or in tiles.

    Raises:
        InputError: the memory does not suffice, or the output is not finite.
        OptionError: tiles were asked for, and the model or the rule cannot be tiled.
    """
    return run_batch(model, [units], rule, options)[0]


def run_batch(
    model: FusionModel, sets: Sequence[Sequence[Array]], rule: FusionRule | None, options: Options | None = None
) -> list[Run]:
    """Do as `run_model` for several sets of as many sources of one size, in one call of the network."""
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    dtype = parameter.dtype if parameter is not None else torch.float32
    tensors = [_on(device, _stacked(units)).to(dtype) for units in zip(*sets, strict=True)]
    try:
        with torch.inference_mode():
            runs = _run(model, tensors, model.choose_rule(rule), options or Options())
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "memory" not in str(error):
            raise
        raise InputError(
            f"the memory of {device} does not suffice for {len(tensors)} sources of {size_text(tensors[0].shape[2:])} "
            "pixels; allow less with --memory, use smaller images, another device, or dtype bfloat16"
        ) from error
    if not all(np.isfinite(ran.image).all() for ran in runs):
        raise InputError(
            f"the model {model.spec.id!r} gave values that are not finite for these sources in {dtype}; "
            "try dtype float32, or other weights"
        )
    return runs


def _stacked(units: Sequence[Array]) -> Tensor:
    """Return luminances (H, W) of one size as one tensor (B, 1, H, W)."""
    return torch.from_numpy(units[0])[None, None] if len(units) == 1 else torch.from_numpy(np.stack(units))[:, None]


def _on(device: torch.device, tensor: Tensor) -> Tensor:
    """Return the tensor on a device; from pinned memory a copy to a GPU does not wait for what that computes."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _run(model: FusionModel, sources: Sequence[Tensor], rule: FusionRule | None, options: Options) -> list[Run]:
    """Fuse tensors (B, 1, H, W) whole or in tiles."""
    padded = [pad_to_multiple(source, model.spec.multiple) for source in sources]
    plan = make_plan(model, rule, padded, parse_tile(options.tile), parse_memory(options.memory))
    if plan is None or isinstance(plan, NotTiled):
        images, weights = model.fuse_with_weights(sources, rule)
        tiles = None if plan is None else {"note": str(plan)}
        return [_one_of(index, images, weights, rule, tiles) for index in range(len(images))]
    if len(sources[0]) > 1:
        alone = [[source[index : index + 1] for source in sources] for index in range(len(sources[0]))]
        return [run for each in alone for run in _run(model, each, rule, options)]
    fused = fuse_tiled(model, padded, rule, plan)
    image = crop_to(fused.image, sources[0].shape[2:])
    return [Run(_plane(image[0]), fused.weights, fused.report, plan.as_dict(fused.passes))]


def _one_of(
    index: int, images: Tensor, weights: list[Tensor] | None, rule: FusionRule | None, tiles: dict[str, Any] | None
) -> Run:
    """Return what concerns one image of a batch."""
    summaries = None if weights is None else [WeightSummary(each[:, index : index + 1]) for each in weights]
    return Run(_plane(images[index]), summaries, {} if rule is None else rule.report_of(index), tiles)


def _plane(image: Tensor) -> Array:
    plane: Array = image[0].float().cpu().numpy()
    return plane


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


def _resampled(image: Image, size: tuple[int, int]) -> Image:
    pixels = image.pixels.astype(np.float32)
    tensor = torch.from_numpy(pixels if image.is_color else pixels[:, :, None]).permute(2, 0, 1)[None]
    resized = resize_to(tensor, size)[0].permute(1, 2, 0).numpy()
    if image.depth != "float32":
        resized = np.clip(np.rint(resized), 0, full_scale(image.depth)).astype(image.depth)
    notes = (*image.notes, f"resampled from {size_text(image.size)}")
    return from_pixels(resized, path=image.path, sha256=image.sha256, notes=notes)


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


def _in_layout_of(source: Source, pixels: Array) -> Any:
    """Return ``pixels`` as an array, or as a tensor with the axes of ``source`` if that is a tensor."""
    if not isinstance(source, Tensor):
        return pixels
    tensor = torch.from_numpy(pixels)
    if source.dim() == 2 and tensor.dim() == 2:
        return tensor
    channels_first = tensor.permute(2, 0, 1) if tensor.dim() == 3 else tensor[None]
    return channels_first[None] if source.dim() == 4 else channels_first
