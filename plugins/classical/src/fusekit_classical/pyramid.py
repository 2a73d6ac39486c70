"""The model ``laplacian-pyramid`` (Burt and Adelson, 1983), and what all pyramids share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import Joint, OptionError, Reach
from fusekit_classical import plugin

_KERNEL = (0.05, 0.25, 0.4, 0.25, 0.05)


def reduce_(x: Tensor) -> Tensor:
    """Blur with the 5×5 generating kernel (a = 0.4), the border mirrored, and keep every second row and column."""
    return _blur(x)[:, :, ::2, ::2]


def expand(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring (B, 1, h, w) to ``size``, at most twice as large: zeros between the samples, blurred, times 4."""
    spread = x.new_zeros(*x.shape[:2], *size)
    spread[:, :, ::2, ::2] = x
    return 4 * _blur(spread, mirrored=False) / _coverage(spread)


def _coverage(spread: Tensor) -> Tensor:
    """Return what `expand` gives for an image of ones, so that the border is as bright as the inside."""
    ones = torch.zeros_like(spread[:1])
    ones[:, :, ::2, ::2] = 1
    return 4 * _blur(ones, mirrored=False)


def _blur(x: Tensor, *, mirrored: bool = True) -> Tensor:
    row = torch.tensor(_KERNEL, dtype=x.dtype, device=x.device)
    kernel = (row[:, None] * row[None, :])[None, None]
    # A side of fewer than three pixels is too short to be mirrored.
    mode = "constant" if not mirrored else "reflect" if min(x.shape[2:]) > 2 else "replicate"
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode=mode), kernel)


def decompose(x: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Return the detail bands of (B, 1, H, W), fine to coarse, and what is left: with `compose`, exactly invertible."""
    details = []
    for _ in range(levels):
        coarse = reduce_(x)
        details.append(x - expand(coarse, (x.shape[2], x.shape[3])))
        x = coarse
    return details, x


def compose(details: list[Tensor], base: Tensor) -> Tensor:
    """Undo `decompose`."""
    for detail in reversed(details):
        base = detail + expand(base, (detail.shape[2], detail.shape[3]))
    return base


class Pyramid(Joint):
    """What the pyramids share: how many levels there are.

    Args:
        levels: of detail; fewer where the image is too small for them. 5 suits images of 256×256.
    """

    def __init__(self, levels: int = 5) -> None:
        super().__init__()
        if levels < 1:
            raise OptionError(f"the model {self.spec.id!r} needs 1 level or more, not {levels}")
        self.levels = levels

    @property
    def reach(self) -> Reach:
        # A pixel takes in the coarsest level up to 2·(2ᴸ − 1) pixels away, and that as far again of the sources.
        scale = 1 << self.levels
        return Reach(4 * (scale - 1), 0, scale, working=80.0)

    def levels_for(self, size: Sequence[int]) -> int:
        """Return how many levels an image of this size gets."""
        return max(1, min(self.levels, min(size).bit_length() - 2))


class LaplacianPyramid(Pyramid):
    """At each level and place the detail of greatest magnitude among the sources; the mean of the coarsest images.

    Args:
        levels: of detail; fewer where the image is too small for them. 5 suits images of 256×256.
    """

    spec = plugin.LAPLACIAN

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        levels = self.levels_for(sources[0].shape[2:])
        pyramids = [decompose(source, levels) for source in sources]
        details = [strongest(torch.stack(bands)) for bands in zip(*(bands for bands, _ in pyramids), strict=True)]
        return compose(details, torch.stack([base for _, base in pyramids]).mean(0))


def strongest(bands: Tensor) -> Tensor:
    """Return, element by element, the value of greatest magnitude among N bands (N, …)."""
    return bands.gather(0, bands.abs().argmax(0, keepdim=True))[0]
