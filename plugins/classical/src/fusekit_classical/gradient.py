"""The model ``gradient-pyramid`` (Burt and Kolczynski, 1993)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import Reach
from fusekit_classical import plugin
from fusekit_classical.pyramid import Pyramid, compose, expand, reduce_, strongest

_ROOT = math.sqrt(2)


def _padded(x: Tensor) -> Tensor:
    # A side of one pixel cannot be mirrored.
    return F.pad(x, (1, 1, 1, 1), mode="reflect" if min(x.shape[2:]) > 1 else "replicate")


def smoothed(x: Tensor) -> Tensor:
    """Filter (B, 1, H, W) with [1 2 1] / 4 along both axes, the border mirrored."""
    rows = _padded(x)
    rows = rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16


def gradients(x: Tensor) -> list[Tensor]:
    """Return the differences of neighbours of (B, 1, H, W) in four directions, those across the border included.

    Along rows (B, 1, H, W + 1), along columns (B, 1, H + 1, W), and along both diagonals (B, 1, H + 1, W + 1) by √2.
    """
    p = _padded(x)
    return [
        p[:, :, 1:-1, 1:] - p[:, :, 1:-1, :-1],
        p[:, :, 1:, 1:-1] - p[:, :, :-1, 1:-1],
        (p[:, :, 1:, 1:] - p[:, :, :-1, :-1]) / _ROOT,
        (p[:, :, 1:, :-1] - p[:, :, :-1, 1:]) / _ROOT,
    ]


def divergence(found: list[Tensor]) -> Tensor:
    """Return an eighth of the gradients' own gradients: of those of x it is x less x smoothed."""
    rows, columns, falling, rising = found
    total = rows[..., :-1] - rows[..., 1:] + columns[:, :, :-1] - columns[:, :, 1:]
    total = total + (falling[:, :, :-1, :-1] - falling[:, :, 1:, 1:]) / _ROOT
    return (total + (rising[:, :, :-1, 1:] - rising[:, :, 1:, :-1]) / _ROOT) / 8


def _detail(of_smoothed: list[Tensor]) -> Tensor:
    """Return about what the Laplacian pyramid has at this level, from the gradients of x + smoothed x.

    With the smoothing s they give x − s(s(x)); that and its own s(s(·)) are x − s⁴(x), and expand(reduce(x)) is near to
    s⁴(x).
    """
    found = divergence(of_smoothed)
    return found + smoothed(smoothed(found))


class GradientPyramid(Pyramid):
    """At each level, place and direction the gradient of greatest magnitude; the mean of the coarsest images.

    What the gradients leave out of the Laplacian pyramid, since reducing and expanding is no exact filter, is added as
    the mean of the sources, so that an image fused with itself is that image.

    Args:
        levels: of detail; fewer where the image is too small for them. 5 suits images of 256×256.
    """

    spec = plugin.GRADIENT

    @property
    def reach(self) -> Reach:
        # At the coarsest level of detail, 2ᴸ⁻¹ pixels apart, filters see 6 pixels, beside reducing and expanding.
        scale = 1 << self.levels
        return Reach(5 * scale, 0, scale, working=160.0)

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        images, details = list(sources), []
        for _ in range(self.levels_for(sources[0].shape[2:])):
            coarse = [reduce_(image) for image in images]
            own = [gradients(image + smoothed(image)) for image in images]
            chosen = [strongest(torch.stack(bands)) for bands in zip(*own, strict=True)]
            left = [
                image - expand(small, (image.shape[2], image.shape[3])) - _detail(each)
                for image, small, each in zip(images, coarse, own, strict=True)
            ]
            details.append(_detail(chosen) + torch.stack(left).mean(0))
            images = coarse
        return compose(details, torch.stack(images).mean(0))
