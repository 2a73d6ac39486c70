"""3×3 convolutions by Winograd's F(6, 3) along the rows: 4 multiplications a pixel and pair of channels.

Six rows of the output come from eight transformed rows of the input (Lavin and Gray: Fast algorithms for convolutional
neural networks, CVPR 2016; the points are 0, ±1, ±2, ±1/2 and infinity). It needs less than F(4, 3), which
`fusekit.extend.WinogradConvolution` is and which makes the rows that are left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit.extend import WinogradConvolution, convolve

_ROWS = 6
#: From the three taps of a filter to eight.
_FILTER = (
    (1.0, 0.0, 0.0),
    (-2 / 9, -2 / 9, -2 / 9),
    (-2 / 9, 2 / 9, -2 / 9),
    (1 / 90, 1 / 45, 2 / 45),
    (1 / 90, -1 / 45, 2 / 45),
    (32 / 45, 16 / 45, 8 / 45),
    (32 / 45, -16 / 45, 8 / 45),
    (0.0, 0.0, 1.0),
)
#: From eight rows of the input to the transformed ones.
_INPUT = (
    (1, 0, -21 / 4, 0, 21 / 4, 0, -1, 0),
    (0, 1, 1, -17 / 4, -17 / 4, 1, 1, 0),
    (0, -1, 1, 17 / 4, -17 / 4, -1, 1, 0),
    (0, 1 / 2, 1 / 4, -5 / 2, -5 / 4, 2, 1, 0),
    (0, -1 / 2, 1 / 4, 5 / 2, -5 / 4, -2, 1, 0),
    (0, 2, 4, -5 / 2, -5, 1 / 2, 1, 0),
    (0, -2, 4, 5 / 2, -5, -1 / 2, 1, 0),
    (0, -1, 0, 21 / 4, 0, -21 / 4, 0, 1),
)


class LongWinograd:
    """A 3×3 convolution (B, C, H + 2, W + 2) → (B, O, H, W), channels last, in float32 on a CPU.

    Args:
        weight: (O, C, 3, 3).
        bias: (O,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.bias, self.rest = bias, WinogradConvolution(weight, bias, weight.dtype)
        rows = torch.einsum("pk,ockl->pocl", torch.tensor(_FILTER, dtype=torch.float64), weight.double())
        self.rows = [row[:, :, None].to(weight.dtype, memory_format=torch.channels_last) for row in rows]
        self.transform = torch.tensor(_INPUT, dtype=weight.dtype)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the convolution, written to ``out`` (B, O, H, W) where that is given."""
        x = x.contiguous(memory_format=torch.channels_last)
        batch, _, height, width = x.shape
        height, width = height - 2, width - 2
        if out is None:
            shape = (batch, len(self.bias), height, width)
            out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        whole = _by_sixes(height)
        for image in range(batch if whole else 0):
            planes = self._transformed(x[image], whole // _ROWS)
            # The second product enters all rows with factor 1, and so takes the bias to each of them.
            products = [
                convolve(plane, weight, self.bias if index == 1 else None)
                for index, (plane, weight) in enumerate(zip(planes, self.rows, strict=True))
            ]
            _combine(products, out[image : image + 1, :, :whole])
        if whole < height:
            self.rest(x[:, :, whole:], out[:, :, whole:])
        return out

    def _transformed(self, x: Tensor, count: int) -> Tensor:
        """Return the transformed inputs (8, 1, C, count, W) of x (C, 6·count + 2, W)."""
        channels, _, width = x.shape
        line, size = width * channels, len(_INPUT)
        groups = x.as_strided((count, size, line), (_ROWS * line, line, 1))
        planes = x.new_empty(size, count, line)
        torch.bmm(self.transform.expand(count, -1, -1), groups, out=planes.transpose(0, 1))
        return planes.view(size, 1, count, width, channels).permute(0, 1, 4, 2, 3)


def _by_sixes(height: int) -> int:
    """Return how many rows are made six by six, so that those that are left can be made four by four if possible."""
    left = height % _ROWS
    return height - left - (_ROWS if left == 2 and height > _ROWS else 0)


def _combine(products: list[Tensor], out: Tensor) -> None:
    """Write the six rows of each group of ``out`` (1, O, 6·count, W) from eight products (1, O, count, W)."""
    first, one, minus_one, two, minus_two, half, minus_half, last = products
    even = [one + minus_one, two + minus_two, half + minus_half]
    odd = [one.sub_(minus_one), two.sub_(minus_two), half.sub_(minus_half)]
    for row in range(_ROWS):
        near, far, close = odd if row % 2 else even
        to = torch.add(near, far, alpha=2**row, out=out[:, :, row::_ROWS]).add_(close, alpha=0.5**row)
        if row == 0:
            to.add_(first)
        if row == _ROWS - 1:
            to.add_(last)
