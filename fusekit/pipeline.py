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
from fusekit.errors import InputError, OptionError
from fusekit.geometry import resize_to, size_text
from fusekit.io.image import Array, Image, from_pixels, full_scale
from fusekit.io.reading import read_image
from fusekit.loading import load
from fusekit.model import FusionModel
from fusekit.ranges import from_unit, luminance_of, output_to_unit, source_range, to_unit
from fusekit.record import make_record, save_with_record
from fusekit.rules.base import FusionRule

Source: TypeAlias = "str | Path | Array | Tensor"
BIT_DEPTHS = {"8": "uint8", "16": "uint16", "float": "float32"}


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
    """

    color: str = "keep"
    resize: str | None = None
    bit_depth: str | None = None

    def __post_init__(self) -> None:
        form = self.color.partition(":")
        if self.color not in ("keep", "gray") and not (form[0] == "from" and form[2].isdigit() and int(form[2]) > 0):
            raise OptionError(f"unknown color {self.color!r}; choose keep, gray or from:N with N counted from 1")
        if self.resize not in (None, "first"):
            raise OptionError(f"unknown resize {self.resize!r}; choose first, or leave it out")
        if self.bit_depth is not None and str(self.bit_depth) not in BIT_DEPTHS:
            raise OptionError(f"unknown bit depth {self.bit_depth!r}; choose {', '.join(BIT_DEPTHS)}")

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

    Returns:
        the fused image with its record.

    Raises:
        FusekitError: one of its kinds, with a message that names the file, the fact and the remedy.
    """
    started = time.perf_counter()
    options = Options(color, resize, bit_depth)
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
    raw, rule_weights = run_model(model, prepared.units, chosen)
    fused_at = time.perf_counter()
    seconds = {"read": read_at - started, "fuse": fused_at - read_at}
    return finish(prepared, model, chosen, options, raw, rule_weights, seconds)


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
    luminances = [luminance_of(image) for image in images]
    limits = [
        source_range(values, image.depth, model.spec.normalization)
        for values, image in zip(luminances, images, strict=True)
    ]
    units = [to_unit(values, each) for values, each in zip(luminances, limits, strict=True)]
    return Prepared(sources[0], images, depth, chroma_of, limits, units)


def finish(
    prepared: Prepared,
    model: FusionModel,
    rule: FusionRule | None,
    options: Options,
    raw: Array,
    rule_weights: list[Tensor] | None,
    seconds: Mapping[str, float],
) -> Fused:
    """Bring the network's raw output (H, W) to pixels like the first source's, and make the record.

    ``seconds`` holds what ``read`` and ``fuse`` took; the record's ``total`` adds what this function takes.
    """
    started = time.perf_counter()
    first, limits, depth = prepared.images[0], prepared.limits, prepared.depth
    unit = output_to_unit(raw, model.spec.output)
    # A float output lies on the range of a float source; where the first source is of integers, on [0, 1].
    scale = limits[0] if first.depth == "float32" else (0.0, 1.0)
    if prepared.chroma_of is not None:
        pixels = _colored(unit, _chroma(prepared.images[prepared.chroma_of]), depth, first, scale)
    else:
        pixels = from_unit(unit, depth, scale)
    seconds = {**seconds, "total": sum(seconds.values()) + time.perf_counter() - started}
    record = make_record(
        model, prepared.images, limits, rule, rule_weights, options, prepared.chroma_of, pixels, seconds
    )
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


def run_model(model: FusionModel, units: Sequence[Array], rule: FusionRule | None) -> tuple[Array, list[Tensor] | None]:
    """Run the network on luminances (H, W) in [0, 1] and return its raw output (H, W) and the rule's weights."""
    return run_batch(model, [units], rule)[0]


def run_batch(
    model: FusionModel, sets: Sequence[Sequence[Array]], rule: FusionRule | None
) -> list[tuple[Array, list[Tensor] | None]]:
    """Do as `run_model` for several sets of as many sources of one size, in one call of the network."""
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    dtype = parameter.dtype if parameter is not None else torch.float32
    tensors = [_on(device, _stacked(units)).to(dtype) for units in zip(*sets, strict=True)]
    try:
        with torch.inference_mode():
            fused, weights = model.fuse_with_weights(tensors, rule)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "memory" not in str(error):
            raise
        raise InputError(
            f"the memory of {device} does not suffice for {len(tensors)} sources of {size_text(tensors[0].shape[2:])} "
            "pixels; use smaller images, another device, or dtype bfloat16"
        ) from error
    outputs = fused[:, 0].float().cpu().numpy()
    if not np.isfinite(outputs).all():
        raise InputError(
            f"the model {model.spec.id!r} gave values that are not finite for these sources in {dtype}; "
            "try dtype float32, or other weights"
        )
    return [
        (output, None if weights is None else [each[:, index : index + 1] for each in weights])
        for index, output in enumerate(outputs)
    ]


def _stacked(units: Sequence[Array]) -> Tensor:
    """Return luminances (H, W) of one size as one tensor (B, 1, H, W)."""
    return torch.from_numpy(units[0])[None, None] if len(units) == 1 else torch.from_numpy(np.stack(units))[:, None]


def _on(device: torch.device, tensor: Tensor) -> Tensor:
    """Return the tensor on a device; from pinned memory a copy to a GPU does not wait for what that computes."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _chroma(image: Image) -> Array:
    """Return the chroma of a coloured image on a scale where white is 1."""
    low, high = source_range(image.pixels, image.depth, "unit")
    return bt601.chroma((image.pixels.astype(np.float64) - low) / (high - low))


def _colored(unit: Array, cbcr: Array, depth: str, first: Image, limits: tuple[float, float]) -> Array:
    """Return RGB pixels of a luminance in [0, 1] and a chroma on the scale where white is 1.

    A float source has two scales: ``limits``, the range of its luminance, and its black and white, to which the chroma
    belongs; the luminance is brought from the one to the other.
    """
    if depth != "float32" or first.depth != "float32":
        return from_unit(np.clip(bt601.restore(unit, cbcr), 0.0, 1.0), depth, limits)
    black, white = source_range(first.pixels, first.depth, "unit")
    luminance = (from_unit(unit, depth, limits) - black) / (white - black)
    return from_unit(np.clip(bt601.restore(luminance, cbcr), 0.0, 1.0), depth, (black, white))


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
