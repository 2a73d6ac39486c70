"""``qy``: structural similarity with both sources, or with the better one where they differ (Yang et al., 2008)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import FLAT, planes_of, ratio_or
from fusekit.metrics.windows import window_within, windowed

_ALIKE = 0.75


class Moments:
    """Local means and variances of images (N, B, H, W) on the scale 0-255; 7×7 Gaussian window of σ = 1.5.

    The window lies within the image, and is the largest odd one that fits into a smaller image.

    Attributes:
        mean: (N, B, H', W').
        variance: likewise; exactly 0 in flat windows.
        flat: where the window is flat.
    """

    def __init__(self, planes: Tensor) -> None:
        self._planes, self._window = planes, window_within(planes, 7, 1.5)
        self.mean, square = windowed(torch.stack([planes, planes.square()]), self._window)
        spread = square - self.mean.square()
        self.flat = spread < FLAT
        self.variance = spread.where(~self.flat, 0.0)

    def covariance(self, first: int | slice, second: int) -> Tensor:
        """Return the local covariance of two images, exactly 0 where either is flat."""
        product = windowed(self._planes[first] * self._planes[second], self._window)
        spread = product - self.mean[first] * self.mean[second]
        return spread.where(~(self.flat[first] | self.flat[second]), 0.0)

    def quality(self, first: int | slice, second: int) -> Tensor:
        """Return the local universal quality index of two images.

        Two flat windows are compared by their means alone, of which two zeros are alike; a flat window and another one
        have 0.
        """
        both = self.mean[first].square() + self.mean[second].square()
        luminance = ratio_or(2 * self.mean[first] * self.mean[second], both, 1.0)
        structure = ratio_or(2 * self.covariance(first, second), self.variance[first] + self.variance[second], 1.0)
        return luminance * structure


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Average over the chosen places of the last two axes, or over all where none is chosen."""
    chosen = chosen | ~chosen.any(-1, keepdim=True).any(-2, keepdim=True)
    return (values * chosen).sum((-2, -1)) / chosen.sum((-2, -1))


def similarity(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q_Y for one source or two, (B,), and for each alone, (N, B); images (B, 1, H, W) in [0, 1]."""
    moments = Moments(planes_of([*sources, fused]))
    count = len(sources)
    quality, flat = moments.quality(slice(count), count), moments.flat[:count]
    alone = mean_where(quality, ~flat)
    if count == 1:
        return alone[0], alone
    variance = moments.variance[:count]
    share = ratio_or(variance[0], variance.sum(0), 0.5)
    mixed = share * quality[0] + (1 - share) * quality[1]
    local = torch.where(moments.quality(0, 1) >= _ALIKE, mixed, quality.amax(0))
    return mean_where(local, ~flat.all(0)), alone


class Similarity(SharedWorkMetric):
    """Q_Y: in each window the universal quality index with the sources, weighed by their variances where those agree.

    Where the sources' own quality index is below 0.75 the better of the two counts. Windows that are flat in both
    sources are left out, unless all are: then two flat windows are compared by their means, and a flat one and another
    have 0. Equal images have 1, constant ones too. With one source it is the mean quality index.
    """

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    max_sources = 2
    look_alikes = (
        "A widespread MATLAB toolbox returns NaN, or values up to some hundred, where a window is flat, as all medical "
        "images have; on images without flat windows it agrees. A few windows are judged by rounding errors in either."
    )

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return similarity(sources, fused)
