"""The models ``dwt`` and ``swt``: details by wavelets, computed by PyWavelets."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusekit.extend import Joint, OptionError, Reach
from fusekit_classical import plugin

_Array: TypeAlias = NDArray[Any]
_AXES = (-2, -1)


class _Wavelets(Joint):
    """What both have in common: the wavelet, the rule, and the way to NumPy and back.

    Args:
        wavelet: name of a discrete wavelet, as PyWavelets lists them.
        levels: of detail.

    Raises:
        OptionError: there is no such wavelet, or not a level.
    """

    def __init__(self, wavelet: str = "db2", levels: int = 4) -> None:
        super().__init__()
        if wavelet not in pywt.wavelist(kind="discrete"):
            raise OptionError(f"unknown wavelet {wavelet!r}; choose a discrete one of PyWavelets, such as haar or sym4")
        if levels < 1:
            raise OptionError(f"the model {self.spec.id!r} needs 1 level or more, not {levels}")
        self.wavelet, self.levels = pywt.Wavelet(wavelet), levels

    @property
    def margin(self) -> int:
        """How far a coefficient of the coarsest level sees, and how far it is seen."""
        return (self.wavelet.dec_len - 1) * ((1 << self.levels) - 1)

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        first = sources[0]
        dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
        stacked = torch.stack(list(sources)).to("cpu", dtype).numpy()
        fused = torch.from_numpy(np.ascontiguousarray(self.fused(stacked)))
        return fused.to(first.device, first.dtype)

    def fused(self, stacked: _Array) -> _Array:
        """Fuse N images (N, B, 1, H, W) to (B, 1, H, W)."""
        raise NotImplementedError


def _strongest(bands: _Array) -> _Array:
    """Return, element by element, the coefficient of greatest magnitude among N (N, …)."""
    chosen = np.abs(bands).argmax(axis=0)[None]
    found: _Array = np.take_along_axis(bands, chosen, axis=0)[0]
    return found


def _fused_coefficients(coefficients: list[Any]) -> list[Any]:
    """Return the mean of N approximations, and of each detail band the strongest coefficients."""
    approximation, *details = coefficients
    return [approximation.mean(axis=0), *(tuple(_strongest(band) for band in level) for level in details)]


class DWT(_Wavelets):
    """At each place of a detail band the coefficient of greatest magnitude; the mean of the coarsest approximations.

    The border is mirrored. Images that are too small for so many levels get fewer.

    Args:
        wavelet: name of a discrete wavelet, as PyWavelets lists them.
        levels: of detail.

    Raises:
        OptionError: there is no such wavelet, or not a level.
    """

    spec = plugin.DWT

    @property
    def reach(self) -> Reach:
        return Reach(2 * self.margin, 0, 1 << self.levels, working=12.0)

    def fused(self, stacked: _Array) -> _Array:
        height, width = stacked.shape[-2:]
        levels = min(self.levels, pywt.dwt_max_level(min(height, width), self.wavelet))
        coefficients = pywt.wavedec2(stacked, self.wavelet, mode="symmetric", level=levels, axes=_AXES)
        fused = pywt.waverec2(_fused_coefficients(coefficients), self.wavelet, mode="symmetric", axes=_AXES)
        found: _Array = fused[..., :height, :width]
        return found


class SWT(_Wavelets):
    """As `DWT`, by the transform that leaves no coefficient out, so that a shifted image is fused the same way.

    The transform goes round the border, so the image is mirrored as far as a coefficient sees.

    Args:
        wavelet: name of a discrete wavelet, as PyWavelets lists them.
        levels: of detail.

    Raises:
        OptionError: there is no such wavelet, or not a level.
    """

    spec = plugin.SWT

    @property
    def reach(self) -> Reach:
        return Reach(2 * self.margin, 0, working=12.0 * (3 * self.levels + 1))

    def fused(self, stacked: _Array) -> _Array:
        height, width = stacked.shape[-2:]
        block = 1 << self.levels
        before = 2 * self.margin
        sides = [(0, 0)] * 3 + [(before, before + -(side + 2 * before) % block) for side in (height, width)]
        mirrored = np.pad(stacked, sides, mode="symmetric")
        coefficients = pywt.swt2(mirrored, self.wavelet, self.levels, axes=_AXES, trim_approx=True)
        fused = pywt.iswt2(_fused_coefficients(coefficients), self.wavelet, axes=_AXES)
        found: _Array = fused[..., before : before + height, before : before + width]
        return found
