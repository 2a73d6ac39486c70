"""Running a model on luminances: whole or in tiles, one set of sources or several of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fusekit.errors import InputError, size_text
from fusekit.fusing.plan import NotTiled, make_plan
from fusekit.fusing.summary import WeightSummary
from fusekit.fusing.tiled import fuse_tiled
from fusekit.images.image import Array
from fusekit.models.base import FusionModel
from fusekit.models.shapes import crop_to, pad_to_multiple
from fusekit.options import FuseOptions, parse_memory, parse_tile
from fusekit.rules.base import FusionRule


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


def run_model(
    model: FusionModel, units: Sequence[Array], rule: FusionRule | None, options: FuseOptions | None = None
) -> Run:
    """Run the network on luminances (H, W) in [0, 1], whole or in tiles.

    Raises:
        InputError: the memory does not suffice, or the output is not finite.
        OptionError: tiles were asked for, and the model or the rule cannot be tiled.
    """
    return run_batch(model, [units], rule, options)[0]


def run_batch(
    model: FusionModel, sets: Sequence[Sequence[Array]], rule: FusionRule | None, options: FuseOptions | None = None
) -> list[Run]:
    """Do as `run_model` for several sets of as many sources of one size, in one call of the network."""
    device, dtype = model.device, model.dtype
    tensors = [_on(device, _stacked(units)).to(dtype) for units in zip(*sets, strict=True)]
    try:
        with torch.inference_mode():
            runs = _run(model, tensors, model.choose_rule(rule), options or FuseOptions())
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


def _run(model: FusionModel, sources: Sequence[Tensor], rule: FusionRule | None, options: FuseOptions) -> list[Run]:
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
