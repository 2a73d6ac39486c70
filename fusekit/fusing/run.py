"""Running a model on luminances: whole or in tiles, one set of sources or several of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fusekit.errors import FusekitError, InputError, size_text
from fusekit.fusing.plan import NotTiled, make_plan
from fusekit.fusing.summary import WeightSummary
from fusekit.fusing.tiled import fuse_tiled
from fusekit.images.image import Array
from fusekit.machine.memory import is_out_of_memory
from fusekit.models.base import EncoderDecoder, Fusion, FusionModel
from fusekit.models.contract import apply_rule
from fusekit.models.shapes import check_sources, crop_to, pad_to_multiple
from fusekit.options import FuseOptions, parse_memory, parse_tile
from fusekit.registry.contract import calling, fault
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
    report: Mapping[str, Any]
    tiles: dict[str, Any] | None


def run(
    model: FusionModel, sets: Sequence[Sequence[Array]], rule: FusionRule | None, options: FuseOptions | None = None
) -> list[Run]:
    """Run the network on luminances (H, W) in [0, 1], whole or in tiles; nobody else calls a model.

    Args:
        model: loaded.
        sets: of as many sources of one size, fused in one call of the network.
        rule: what `FusionModel.choose_rule` returned.
        options: how to fuse; of these tile and memory.

    Returns:
        what came of each set.

    Raises:
        InputError: the memory does not suffice, or the output is not finite.
        OptionError: tiles were asked for, and the model or the rule cannot be tiled.
        PluginError: the model or the rule failed, or does not keep its contract.
    """
    device, dtype = model.device, model.dtype
    tensors = [_on(device, _stacked(units)).to(dtype) for units in zip(*sets, strict=True)]
    check_sources(tensors, model.spec)
    try:
        with torch.inference_mode(), calling(model.component, is_out_of_memory):
            runs = _run(model, tensors, rule, options or FuseOptions())
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"the memory of {device} does not suffice for {len(tensors)} sources of {size_text(tensors[0].shape[2:])} "
            "pixels; allow less with --memory, use smaller images, another device, or dtype bfloat16"
        ) from error
    if not all(np.isfinite(ran.image).all() for ran in runs):
        raise _not_finite(model, tensors, rule)
    return runs


@torch.inference_mode()
def _not_finite(model: FusionModel, sources: Sequence[Tensor], rule: FusionRule | None) -> FusekitError:
    """Return the error for an image that is not finite: whether the rule or the model made it so."""
    padded = [pad_to_multiple(source, model.spec.multiple, model.spec.padding) for source in sources]
    if isinstance(model, EncoderDecoder) and rule is not None:
        features = model.encode_sources(padded)
        if _finite(features) and not _finite(apply_rule(rule, features)[:2]):
            return fault(
                rule.component, "gave values that are not finite for finite features", "mend it, or take another"
            )
    return InputError(
        f"{model.component} gave values that are not finite for these sources in "
        f"{str(model.dtype).removeprefix('torch.')}; try dtype float32, or other weights"
    )


def _finite(tree: Any) -> bool:
    leaves = [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves)


def _stacked(units: Sequence[Array]) -> Tensor:
    """Return luminances (H, W) of one size as one tensor (B, 1, H, W)."""
    return torch.from_numpy(units[0])[None, None] if len(units) == 1 else torch.from_numpy(np.stack(units))[:, None]


def _on(device: torch.device, tensor: Tensor) -> Tensor:
    """Return the tensor on a device; from pinned memory a copy to a GPU does not wait for what that computes."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _run(model: FusionModel, sources: Sequence[Tensor], rule: FusionRule | None, options: FuseOptions) -> list[Run]:
    """Fuse tensors (B, 1, H, W) whole or in tiles."""
    size = sources[0].shape[2:]
    padded = [pad_to_multiple(source, model.spec.multiple, model.spec.padding) for source in sources]
    plan = make_plan(model, rule, padded, parse_tile(options.tile), parse_memory(options.memory))
    if plan is None or isinstance(plan, NotTiled):
        fusion = model.run(padded, rule)
        fusion = fusion._replace(image=crop_to(fusion.image, size))
        tiles = None if plan is None else {"note": str(plan)}
        return [_one_of(index, fusion, tiles) for index in range(len(fusion.image))]
    if len(sources[0]) > 1:
        alone = [[source[index : index + 1] for source in sources] for index in range(len(sources[0]))]
        return [run for each in alone for run in _run(model, each, rule, options)]
    fused = fuse_tiled(model, padded, rule, plan)
    image = crop_to(fused.image, size)
    return [Run(_plane(image[0]), fused.weights, fused.report, plan.as_dict(fused.passes))]


def _one_of(index: int, fusion: Fusion, tiles: dict[str, Any] | None) -> Run:
    """Return what concerns one image of a batch."""
    weights = fusion.weights
    summaries = None if weights is None else [WeightSummary(each[:, index : index + 1]) for each in weights]
    return Run(_plane(fusion.image[index]), summaries, fusion.report[index] if fusion.report else {}, tiles)


def _plane(image: Tensor) -> Array:
    plane: Array = image[0].float().cpu().numpy()
    return plane
