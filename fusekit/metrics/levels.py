"""Grey levels and histograms of them, in bands of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Pixels of an image that are worked on at once on a CPU, so that what is computed of them stays in its cache.
_BAND = 2**16


def precise(image: Tensor) -> Tensor:
    """Return ``image`` in float64, or in float32 where the device has no float64."""
    return image.to(torch.float32 if image.device.type == "mps" else torch.float64)


def bands(*images: Tensor, halo: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Yield images (…, H, W) of one shape in bands of whole rows, as views; on other devices than a CPU, in one band.

    Args:
        images: the images.
        halo: the rows that a band shares with the next one; bands begin at H − ``halo`` rows.
    """
    height, width = images[0].shape[-2:]
    rows = max(1, _BAND // width) if images[0].device.type == "cpu" else height
    for top in range(0, max(1, height - halo), rows):
        yield tuple(image[..., top : top + rows + halo, :] for image in images)


def sum_of_bands(measure: Callable[..., Tensor], *images: Tensor, halo: int = 0) -> Tensor:
    """Add up what ``measure`` says of each of the `bands`: on a CPU several times as fast as of whole large images."""
    values = [measure(*band) for band in bands(*images, halo=halo)]
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def levels(images: Tensor) -> Tensor:
    """Return the scale 0-255: (B, 1, H, W) in [0, 1] → (B, H, W).

    What float32 rounding moved off a whole level is put back on it, and other values are rounded to 2⁻³² of a level, so
    that sums and differences are exact: flat stays flat.
    """
    return scaled(images[:, 0])


def scaled(planes: Tensor) -> Tensor:
    """Return [0, 1] on the scale 0-255 as `levels` does, same shape."""
    exact = (precise(planes) * (255 * 2**32)).round_().div_(2**32)
    whole = exact.round()
    return torch.where((exact - whole).abs_() < 1e-4, whole, exact)


def gray_levels(image: Tensor) -> Tensor:
    """Return the 8-bit grey levels of [0, 1]: rounded to the nearest of 0…255, int64, same shape."""
    return (precise(image) * 255).round_().clamp_(0, 255).long()


def entropy_of_counts(counts: Tensor) -> Tensor:
    """Return the Shannon entropy in bits of each histogram: (B, bins) counts → (B,), with 0·log 0 = 0."""
    shares = precise(counts) / counts.sum(1, keepdim=True)
    nats: Tensor = torch.special.entr(shares).sum(1)
    return nats / math.log(2)


def histogram(values: Tensor, bins: int) -> Tensor:
    """Count each image's values: (B, …) of int64 in 0…bins−1 → (B, bins)."""
    batch = len(values)
    offsets = torch.arange(batch, device=values.device)[:, None] * bins
    return torch.bincount((values.flatten(1) + offsets).flatten(), minlength=batch * bins).view(batch, bins)


def joint_histogram(first: Tensor, second: Tensor) -> Tensor:
    """Count each pair of grey levels of two (B, 1, H, W) in [0, 1], the first down the rows: → (B, 256, 256)."""

    def count(x: Tensor, y: Tensor) -> Tensor:
        return histogram(gray_levels(x).mul_(256).add_(gray_levels(y)), 256 * 256)

    return sum_of_bands(count, first, second).view(-1, 256, 256)


def level_histogram(image: Tensor) -> Tensor:
    """Count each image's grey levels: (B, 1, H, W) in [0, 1] → (B, 256)."""
    return sum_of_bands(lambda band: histogram(gray_levels(band), 256), image)


def entropies(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return H(X), H(Y) and H(X, Y) in bits, of 256×256 grey levels: two (B, 1, H, W) in [0, 1] → three (B,)."""
    counts = joint_histogram(first, second)
    return entropy_of_counts(counts.sum(2)), entropy_of_counts(counts.sum(1)), entropy_of_counts(counts.flatten(1))
