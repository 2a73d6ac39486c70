"""What ``sfnn-local`` measures: nuclear norms of local windows, base and detail, and what is new in a detail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import (
    crop_to,
    gaussian,
    pad_to_multiple,
    windowed,
)

#: Distances in pixels between the corners of a window; together they see what is 2 to 8 pixels wide.
_SPACINGS = (1, 2, 4)
#: Standard deviations in pixels: of activities, of the border between two sources' details, and of the wide mean.
_ACTIVITY, SEAM, _WIDE = 3.0, 1.0, 5.0
#: An edge belongs to the base where its local deviation is over three times the image's root mean square one.
_STRONG = 3.0
#: Side of the cells on which the wide mean is computed, and number of maps at a time, for the processor's cache.
CELL, _CHUNK = 4, 8
#: How far, in pixels, the wide mean sees; and the base weights, by way of the variance's and the details' smoothing.
WIDE_REACH = CELL * (math.ceil(3 * _WIDE / CELL) + 1)
REACH = WIDE_REACH + math.ceil(3 * _WIDE / 2) + math.ceil(3 * _ACTIVITY)


@dataclass(frozen=True)
class Statistics:
    """What the rule takes from the whole image.

    Attributes:
        background: feature of the quietest place, (B, C, 1, 1).
        scale: root mean square of each source's activity, (N, B, 1, 1, 1).
        variance: mean over the image of each source's local variance, (N, B, 1, 1, 1).
        power: mean over the image of the power of each source's detail, (N, B, 1, 1, 1).
        leader: index of the source whose base is strongest in the image's corner, (1, B, 1, 1, 1).
    """

    background: Tensor
    scale: Tensor
    variance: Tensor
    power: Tensor
    leader: Tensor


def detail_norms(maps: Tensor, spacing: int) -> Tensor:
    """Return the nuclear norm of each 2×2 window less its mean: (B, C, H, W) → (B, C, H + d, W + d).

    The window at (y, x) has its corners d = ``spacing`` pixels apart, the lower right one at (y, x); outside the image
    the nearest pixel stands. With the window's Haar coefficients h, v (across, down) and q (diagonal), the squared
    Frobenius norm is h² + v² + q² and the determinant −hv, so that ‖W‖_* = √(‖W‖_F² + 2|det W|) = √((|h| + |v|)² + q²).
    """
    padded = F.pad(maps, (spacing,) * 4, mode="replicate")
    left, right = padded[..., :-spacing], padded[..., spacing:]
    added, across = left + right, left - right
    upper, lower = across[..., :-spacing, :], across[..., spacing:, :]
    down = (added[..., :-spacing, :] - added[..., spacing:, :]).abs_()
    norms = (upper + lower).abs_().add_(down).square_()
    return norms.add_((upper - lower).square_()).sqrt_().mul_(0.5)


def local_activity(features: Tensor) -> Tensor:
    """Return the nuclear norms of windows of the softmax over channels, as a map: (B, C, H, W) → (B, 1, H, W).

    The mean over the channels and over the four windows that have the pixel as a corner, summed over the spacings and
    smoothed; 0 where the source is flat.
    """
    softmax = features.softmax(dim=1)
    total = torch.zeros_like(softmax[:, :1])
    for spacing in _SPACINGS:
        parts = [detail_norms(part, spacing).sum(1, keepdim=True) for part in torch.split(softmax, _CHUNK, dim=1)]
        norms = torch.stack(parts).sum(0)
        rows = norms[..., :-spacing, :] + norms[..., spacing:, :]
        total += rows[..., :-spacing] + rows[..., spacing:]
    return smoothed(total / (4 * features.shape[1]), _ACTIVITY)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Smooth (B, C, H, W) by a Gaussian of ``sigma`` pixels, cut at 3σ; outside the image the nearest pixel stands."""
    return windowed(maps, gaussian(2 * math.ceil(3 * sigma) + 1, sigma), "replicate")


def wide_mean(maps: Tensor) -> Tensor:
    """Return means over wide windows, about a Gaussian of 5 pixels, by way of cells of 4×4 pixels."""
    cells = smoothed(F.avg_pool2d(pad_to_multiple(maps, CELL), CELL), _WIDE / CELL)
    return crop_to(F.interpolate(cells, scale_factor=CELL, mode="bilinear", align_corners=False), maps.shape[2:])


def local_variance(content: Tensor, mean: Tensor) -> Tensor:
    """Return the variance around the wide ``mean`` of (B, C, H, W), summed over the channels: (B, 1, H, W)."""
    variance = wide_mean(content.square().sum(1, keepdim=True)) - mean.square().sum(1, keepdim=True)
    return variance.clamp_min(0)


def keep_edges(content: Tensor, usual: Tensor | None = None) -> Tensor:
    """Return the base of (B, C, H, W): the wide mean, but the features themselves at strong edges.

    A guided filter (He, Sun, Tang, IEEE TPAMI 35(6), 2013) that guides all channels by their common variance.

    Args:
        content: features less the background.
        usual: mean of `local_variance` over the image, (B, 1, 1, 1); ``None`` where ``content`` is the whole image.
    """
    mean = wide_mean(content)
    variance = local_variance(content, mean)
    usual = variance.mean((2, 3), keepdim=True) if usual is None else usual
    share = variance / (variance + _STRONG**2 * usual).clamp_min(torch.finfo(variance.dtype).tiny)
    return torch.lerp(mean, content, smoothed(share, _WIDE / 2))


def loudness(features: Sequence[Tensor]) -> Tensor:
    """Return the L1 norm over the channels, averaged over 7×7 pixels, of each source: (B, N, H, W)."""
    norms = torch.stack([each.abs().sum(1, keepdim=True) for each in features], 1).flatten(1, 2)
    return F.avg_pool2d(norms, 7, 1, 3, count_include_pad=False)


def background(features: Sequence[Tensor]) -> Tensor:
    """Return the feature of the quietest place of all sources, that of least `loudness`: (B, C, 1, 1)."""
    quiet = loudness(features).flatten(1).argmin(1)
    candidates = torch.stack(list(features), 1).transpose(1, 2).flatten(2)
    return candidates.gather(2, quiet.view(-1, 1, 1).expand(-1, candidates.shape[1], 1))[..., None]


def parts_of(features: Sequence[Tensor], known: Statistics | None) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the background (B, C, 1, 1), and base and detail of each source (B, C, H, W).

    Args:
        features: of each source.
        known: statistics of the image of which these are a part; ``None`` where they are the whole.
    """
    quiet = background(features) if known is None else known.background
    usual = [None] * len(features) if known is None else known.variance
    bases = [keep_edges(feature - quiet, each) for feature, each in zip(features, usual, strict=True)]
    details = [feature - quiet - base for feature, base in zip(features, bases, strict=True)]
    return quiet, bases, details


def strengths(bases: Sequence[Tensor]) -> Tensor:
    """Return the norm over the channels of each source's base: (N, B, 1, H, W)."""
    return torch.stack([torch.linalg.vector_norm(base, dim=1, keepdim=True) for base in bases])


def detail_power(detail: Tensor) -> Tensor:
    """Return the square of a detail (B, C, H, W) summed over the channels and smoothed: (B, 1, H, W)."""
    return smoothed((detail * detail).sum(1, keepdim=True), _ACTIVITY)


def novelty(details: Sequence[Tensor], leader: Tensor, known: Statistics | None) -> Tensor:
    """Return √(1 − ρ²) of each source's detail with the leader's: (N, B, 1, H, W); 0 where both are flat."""
    count = len(details)
    products = {
        (i, j): smoothed((details[i] * details[j]).sum(1, keepdim=True), _ACTIVITY)
        for i in range(count)
        for j in range(i, count)
    }
    powers = torch.stack([products[j, j] for j in range(count)])
    usual = powers.mean((3, 4), True) if known is None else known.power
    # Where both details are far below these means there is nothing to compare.
    usual_leader = usual.gather(0, leader[..., :1, :1] if known is None else known.leader)[0]
    rows = []
    for i in range(count):
        cross = torch.stack([products[min(i, j), max(i, j)] for j in range(count)]).gather(0, leader)[0]
        both = products[i, i] * powers.gather(0, leader)[0]
        floor = 1e-8 * (usual[i] * usual_leader)
        alike = (cross.square() + floor) / (both + floor).clamp_min(torch.finfo(both.dtype).tiny)
        rows.append((1 - alike.where(both + floor > 0, 1)).clamp(0, 1).sqrt())
    return torch.stack(rows)
