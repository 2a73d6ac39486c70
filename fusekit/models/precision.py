"""The dtype ``auto``: what the hardware computes fast, if the fused image stays what it is in float32."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fusekit.images import samples
from fusekit.images.files import read_image
from fusekit.images.ranges import luminance_of, output_to_unit, source_range, to_unit
from fusekit.models.base import FusionModel

#: Peak signal-to-noise ratio in dB, on a data range of 1, that a fused image must keep against float32.
LEAST_PSNR = 50.0
#: Side in pixels of the part of the embedded images that is fused to find out.
_SIDE = 128


class Precision(NamedTuple):
    """What ``auto`` took, and why.

    Attributes:
        dtype: float32 or bfloat16.
        reason: one line for the record.
    """

    dtype: torch.dtype
    reason: str


def fastest_precision(model: FusionModel) -> Precision:
    """Return the dtype in which a model is fastest on its device without being another one.

    bfloat16 is taken where the hardware multiplies it natively and the embedded CT and MRI, fused in it, are within
    `LEAST_PSNR` of their fusion in float32.

    Args:
        model: in float32, on its device.
    """
    parameter = next(model.parameters(), None)
    if parameter is None:
        return Precision(torch.float32, "the model has no weights")
    if not has_native_bfloat16(parameter.device):
        return Precision(torch.float32, f"{parameter.device} does not multiply bfloat16 natively")
    if 2 not in model.spec.dims:
        return Precision(torch.float32, "there is no embedded volume to try bfloat16 on")
    ratio = bfloat16_psnr(model)
    against = f"{ratio:.1f} dB from float32 on the embedded images, and {LEAST_PSNR:.0f} are asked for"
    if math.isnan(ratio) or ratio < LEAST_PSNR:
        return Precision(torch.float32, f"bfloat16 is {against}")
    return Precision(torch.bfloat16, f"the device multiplies bfloat16 natively, and it is {against}")


def has_native_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Without these instructions a CPU converts every value to float32 and back. Torch names them privately.
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(test()) for test in tests if test is not None)


def bfloat16_psnr(model: FusionModel) -> float:
    """Return how near, in dB, the embedded images fused in bfloat16 are to their fusion in float32."""
    parameter = next(model.parameters())
    least = model.spec.n_sources[0]
    sources = [torch.from_numpy(_probe(model, name)).to(parameter.device) for name in ("ct", "mri")]
    sources = [sources[index % 2][None, None] for index in range(max(least, 2))]
    half = copy.deepcopy(model).to(torch.bfloat16)
    with torch.inference_mode():
        wanted, found = _fused(model, sources), _fused(half, [each.bfloat16() for each in sources])
    error = float(np.mean((wanted - found) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def _fused(model: FusionModel, sources: list[Tensor]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the fused image (H, W) in [0, 1] by the model's output policy."""
    return output_to_unit(model.fuse(sources)[0, 0].float().cpu().numpy(), model.spec.output).astype(np.float64)


def _probe(model: FusionModel, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the middle of an embedded image, as the pipeline would give it to the model."""
    image = read_image(samples.path(name))
    luminance = luminance_of(image)
    top, left = ((side - _SIDE) // 2 for side in luminance.shape)
    unit = to_unit(luminance, source_range(luminance, image.depth, model.spec.normalization))
    return unit[top : top + _SIDE, left : left + _SIDE].astype(np.float32)
