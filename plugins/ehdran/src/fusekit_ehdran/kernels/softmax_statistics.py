"""What SFNN's bounds need of the softmax over channels, in one pass over the features and without storing the softmax.

For each image and channel: the sum of squares, and the sums of rows and of columns, the shares being what the softmax
makes of the features; for each pixel the logarithm of the sum of exponentials, from which any channel's shares can be
had alone. A program goes along a band of rows, tile by tile; what bands and their segments have summed is added up
afterwards, always in the same order, so that a run gives what the run before it gave.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fusekit_ehdran.kernels.common import first_pixel
from fusekit_ehdran.kernels.norms import ShareStatistics
from fusekit_ehdran.kernels.settings import setting

#: How many programs keep any GPU of today busy; bands are cut into segments until there are as many.
_PROGRAMS = 1024


class _Grid(NamedTuple):
    """How the bands of a batch are cut: their number, segments of each, and tiles of a segment."""

    bands: int
    segments: int
    steps: int


def _cut(batch: int, bands: int, tiles: int) -> _Grid:
    steps = -(-tiles // max(1, min(tiles, _PROGRAMS // max(1, batch * bands))))
    return _Grid(bands, -(-tiles // steps), steps)


@triton.jit
def share_statistics_kernel(
    features, squares, row_sums, column_sums, log_sums, bands, segments, steps, height, width,
    CHANNELS: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute a segment of a band of `share_statistics`."""
    N: tl.constexpr = TILE_HEIGHT * TILE_WIDTH
    program = tl.program_id(0)
    segment = program % segments
    band = program // segments % bands
    which = program // (segments * bands)
    top = band * TILE_HEIGHT
    pixel = tl.arange(0, N)
    channels = tl.arange(0, CHANNELS)
    along = tl.arange(0, TILE_WIDTH)
    down = tl.arange(0, TILE_HEIGHT)
    y = top + pixel // TILE_WIDTH
    square = tl.zeros((CHANNELS,), tl.float32)
    of_rows = tl.zeros((TILE_HEIGHT, CHANNELS), tl.float32)
    step = 0
    while step < steps:
        left = (segment * steps + step) * TILE_WIDTH
        x = left + pixel % TILE_WIDTH
        inside = (y < height) & (x < width)
        number = first_pixel(which, 0, 0, height, width) + y * width + x
        place = features + (number * CHANNELS)[:, None] + channels[None, :]
        values = tl.load(place, mask=inside[:, None], other=0.0).to(tl.float32)
        greatest = tl.max(values, axis=1)
        values = tl.exp(values - greatest[:, None])
        total = tl.sum(values, axis=1)
        tl.store(log_sums + number, greatest + tl.log(total), mask=inside)
        shares = tl.where(inside[:, None], values / total[:, None], 0.0)
        square += tl.sum(shares * shares, axis=0)
        shares = tl.reshape(shares, (TILE_HEIGHT, TILE_WIDTH, CHANNELS))
        of_rows += tl.sum(shares, axis=1)
        number = first_pixel(which * bands + band, 0, left, 1, width) + along
        place = column_sums + (number * CHANNELS)[:, None] + channels[None, :]
        tl.store(place, tl.sum(shares, axis=0), mask=(left + along < width)[:, None])
        step += 1
    number = first_pixel(which * segments + segment, 0, top, 1, height) + down
    place = row_sums + (number * CHANNELS)[:, None] + channels[None, :]
    tl.store(place, of_rows, mask=(top + down < height)[:, None])
    tl.store(squares + program * CHANNELS + channels, square)


def share_statistics(features: Tensor) -> ShareStatistics:
    """Return the statistics of the softmax over channels; `fusekit_ehdran.kernels.norms` has its twin.

    Args:
        features: (B, C, H, W), float32 or bfloat16, copied unless channels last; C a power of two.
    """
    features = features.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = features.shape
    chosen = setting("shares", features.dtype, features.device)
    bands, segments, steps = _cut(batch, -(-height // chosen.height), -(-width // chosen.width))

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=features.device)

    squares = empty(batch, bands * segments, channels)
    row_sums, column_sums = empty(batch, segments, height, channels), empty(batch, bands, width, channels)
    log_sums = empty(batch, height, width)
    share_statistics_kernel[(batch * bands * segments,)](
        features, squares, row_sums, column_sums, log_sums, bands, segments, steps, height, width,
        CHANNELS=channels, **chosen.constants(), **chosen.options(),
    )  # fmt: skip
    return ShareStatistics(squares.sum(1, dtype=torch.float64), row_sums.sum(1).mT, column_sums.sum(1).mT, log_sums)
