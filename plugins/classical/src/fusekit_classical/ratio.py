"""The models ``ratio-pyramid`` and ``contrast-pyramid``: details as ratios to their surroundings (Toet, 1989)."""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit_classical import plugin
from fusekit_classical.pyramid import Pyramid, expand, reduce_

#: Added to both sides of a ratio: one grey level of 8-bit images, which counts little against black.
FLOOR = 1 / 255


def ratios(x: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Return of (B, 1, H, W) the ratios to the next coarser image, fine to coarse, and what is left.

    A ratio is (G + f) / (E + f) with the image G, the coarser one E expanded to its size, and the `FLOOR` f.
    """
    found = []
    for _ in range(levels):
        coarse = reduce_(x)
        found.append((x + FLOOR) / (expand(coarse, (x.shape[2], x.shape[3])) + FLOOR))
        x = coarse
    return found, x


def multiplied(details: list[Tensor], base: Tensor) -> Tensor:
    """Undo `ratios`."""
    for detail in reversed(details):
        base = detail * (expand(base, (detail.shape[2], detail.shape[3])) + FLOOR) - FLOOR
    return base


class RatioPyramid(Pyramid):
    """At each level and place the greatest ratio among the sources; the mean of the coarsest images.

    The greatest ratio prefers what is brighter than its surroundings, as the widespread toolboxes have it; for what
    is brighter or darker see `ContrastPyramid`.

    Args:
        levels: of detail; fewer where the image is too small for them. 5 suits images of 256×256.
    """

    spec = plugin.RATIO

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        levels = self.levels_for(sources[0].shape[2:])
        pyramids = [ratios(source, levels) for source in sources]
        details = [self.chosen(torch.stack(bands)) for bands in zip(*(bands for bands, _ in pyramids), strict=True)]
        return multiplied(details, torch.stack([base for _, base in pyramids]).mean(0))

    def chosen(self, bands: Tensor) -> Tensor:
        """Return, element by element, the ratio that is kept of N (N, B, 1, h, w)."""
        return bands.amax(0)


class ContrastPyramid(RatioPyramid):
    """At each level and place the ratio of greatest contrast |R − 1| of the sources; the mean of the coarsest images.

    Args:
        levels: of detail; fewer where the image is too small for them. 5 suits images of 256×256.
    """

    spec = plugin.CONTRAST

    def chosen(self, bands: Tensor) -> Tensor:
        return bands.gather(0, (bands - 1).abs().argmax(0, keepdim=True))[0]
