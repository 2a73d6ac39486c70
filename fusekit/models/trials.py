"""The embedded sample as a model would see it, and the kernels of a model on trial with it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fusekit.images import samples
from fusekit.images.files import read_image
from fusekit.images.image import Array
from fusekit.images.ranges import unit_luminance
from fusekit.machine.probation import KernelTrial, Verdict, key_of, prove, recall
from fusekit.registry.specs import ModelSpec, Normalization
from fusekit.version import package_digest

#: Height and width of the part of the sample that kernels are tried on: several tiles and a rest in both directions.
#: Where kernels are interpreted, a larger one would take minutes.
_SIZE, _INTERPRETED = (136, 150), (9, 14)


class HasKernels(Protocol):
    """What a model shows of itself here."""

    spec: ModelSpec

    def kernel_trials(self, backend: str) -> Mapping[str, KernelTrial]:
        """As `fusekit.models.forms.Forms.kernel_trials`."""


def sample_pair(normalization: Normalization, size: Sequence[int]) -> Tensor:
    """Return the middle of the embedded CT and MRI as the pipeline gives them to a model: (2, 1, H, W), float32."""
    return torch.from_numpy(np.stack([_middle(name, normalization, size) for name in ("ct", "mri")])[:, None])


def _middle(
    name: str, normalization: Normalization, size: Sequence[int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    unit = unit_luminance(read_image(samples.path(name)), normalization)
    top, left = ((whole - part) // 2 for whole, part in zip(unit.shape, size, strict=True))
    middle: Array = unit[top : top + size[0], left : left + size[1]].astype(np.float32)
    return middle


def verdict_on(model: HasKernels, backend: str, device: torch.device, dtype: torch.dtype, run: bool) -> Verdict:
    """Return what is known of a model's kernels on a device in a dtype.

    Args:
        model: its `kernel_trials` are what is run.
        backend: of the kernels.
        device, dtype: of the model.
        run: whether to run the trials where nothing is known yet.

    Raises:
        DeviceError: a kernel has left the device unusable for this process.
    """
    try:
        trials = model.kernel_trials(backend)
    except Exception as error:  # Kernels that cannot even be imported have failed.
        trials = {"kernels": functools.partial(_raise, error)}
    if not trials:
        return Verdict(unproved=f"the model {model.spec.id!r} names no trials to prove its kernels by")
    key = key_of(
        device,
        backend=backend,
        model=model.spec.id,
        dtype=str(dtype).removeprefix("torch."),
        families=", ".join(trials),
        code=_code_of(type(model)),
    )
    if not run:
        return recall(key) or Verdict()
    return prove(key, trials, lambda: _sample_on(device, dtype, model.spec.normalization), device)


def _sample_on(device: torch.device, dtype: torch.dtype, normalization: Normalization) -> Tensor:
    return sample_pair(normalization, _SIZE if device.type == "cuda" else _INTERPRETED).to(device, dtype)


def _raise(error: Exception, sample: Tensor) -> tuple[Tensor, Tensor, float]:
    raise error


@functools.cache
def _code_of(model_class: type) -> str:
    """Return a digest of the packages in which a class and those before it define their trials."""
    owners = [each for each in model_class.__mro__ if "kernel_trials" in vars(each)]
    return "-".join(dict.fromkeys(package_digest(each.__module__) for each in owners[:-1])) or "none"
