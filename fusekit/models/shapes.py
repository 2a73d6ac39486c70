"""Sizes: which are usable, padding to what a model needs, cropping back."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from fusekit.errors import InputError, size_text
from fusekit.registry.specs import ModelSpec, Padding

_MODES = {"replicate": "replicate", "mirror": "reflect", "zero": "constant"}


def pad_to_multiple(image: Tensor, multiple: int, padding: Padding = "replicate") -> Tensor:
    """Pad the far end of every spatial axis to a multiple.

    Args:
        image: (B, C, *S) with one to three spatial axes.
        multiple: at least 1; 1 gives ``image`` back.
        padding: ``replicate`` repeats the border, ``mirror`` reflects what is inside it (where a side is too short to
            be mirrored, the border is repeated), ``zero`` fills up with zeros.

    Returns:
        (B, C, *S') with every side a multiple of ``multiple``.
    """
    missing = [-side % multiple for side in image.shape[2:]]
    if not any(missing):
        return image
    pads: list[int] = []
    for extra in reversed(missing):
        pads += [0, extra]
    short = any(extra >= side for extra, side in zip(missing, image.shape[2:], strict=True))
    return F.pad(image, pads, mode="replicate" if padding == "mirror" and short else _MODES[padding])


def crop_to(image: Tensor, size: Sequence[int]) -> Tensor:
    """Cut (B, C, *S') back to the first ``size`` elements of each spatial axis."""
    index = (slice(None), slice(None), *(slice(side) for side in size))
    return image[index]


def check_sources(sources: Sequence[Tensor], spec: ModelSpec) -> None:
    """Raise `InputError` unless ``sources`` are as many (B, 1, *S) float tensors of one shape as a model can take."""
    spec.check_count(len(sources))
    dims, min_size = spec.dims, spec.min_size
    for index, source in enumerate(sources, start=1):
        if source.dim() - 2 not in dims or source.shape[1] != 1 or not source.is_floating_point():
            axes = " or ".join({2: "(B, 1, H, W)", 3: "(B, 1, D, H, W)"}[each] for each in dims)
            raise InputError(
                f"source {index} is a {source.dtype} tensor of shape {tuple(source.shape)}; "
                f"this model takes float tensors {axes}"
            )
        if source.shape != sources[0].shape:
            raise InputError(
                f"source {index} has shape {tuple(source.shape)} and source 1 {tuple(sources[0].shape)}; "
                "register and resample them to one grid first"
            )
    if min(sources[0].shape[2:]) < min_size:
        raise InputError(
            f"the sources are {size_text(sources[0].shape[2:])} pixels; this model needs at least "
            f"{min_size} on every side"
        )
