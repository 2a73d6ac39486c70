"""3×3 convolutions without padding for inference forms: Winograd's along the rows on a CPU, direct otherwise.

Winograd's F(4, 3) along one axis (Lavin and Gray: Fast algorithms for convolutional neural networks, CVPR 2016) makes
four rows of the output from six transformed rows of the input, each convolved along its columns alone: 6/4 · 3 = 4.5
multiplications a pixel and pair of channels instead of 9. Transforming one axis only keeps the other contiguous, costs
few passes over the data, and loses less precision than both axes would.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

#: From the three taps of a filter to six; the points are 0, 1, −1, 2, −2 and infinity.
_FILTER_TRANSFORM = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)

#: What oneDNN computes in.
_ONEDNN = (torch.float32, torch.bfloat16)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1, groups: int = 1, padding: int = 0
) -> Tensor:
    """Return the convolution of x (B, C, H, W), channels last, by ``weight`` (O, C / groups, k, k).

    ``padding`` pixels of zeros lie outside, none by default.
    """
    if x.device.type == "cpu" and x.dtype in _ONEDNN and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        # With one thread `F.conv2d` takes another, several times slower way for few channels and few pixels.
        found: Tensor = torch.mkldnn_convolution(x, weight, bias, (padding,) * 2, (1, 1), (dilation,) * 2, groups)
        return found
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=groups)


def accumulate(out: Tensor, x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Add ``convolve(x, weight, dilation=dilation)`` to ``out``, in one pass where oneDNN can, and return it."""
    if _SUMS is None or x.device.type != "cpu" or x.dtype not in _ONEDNN or not _is_dense(out):
        return out.add_(convolve(x, weight, dilation=dilation))
    sides = (0, 0), (1, 1), (dilation, dilation)
    found: Tensor = _SUMS(out, x, weight, None, *sides, 1, "add", 1.0, None, [], None)
    return found


def _sums() -> Callable[..., Tensor] | None:
    """Return torch's convolution with a sum behind it, which it uses itself for models that it compiles."""
    try:
        found: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise_.binary
    except AttributeError:
        return None
    return found


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


_SUMS = _sums()


class WinogradConvolution:
    """A 3×3 convolution (B, C, H + 2, W + 2) → (B, O, H, W), channels last, on one device in one dtype.

    Args:
        weight: (O, C, 3, 3).
        bias: (O,), or ``None``.
        dtype: to compute in; ``weight`` and ``bias`` may be more precise.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.bias = None if bias is None else bias.to(dtype)
        self.channels = len(weight)
        self.weight = weight.to(dtype, memory_format=torch.channels_last)
        self.rows: list[Tensor] = []
        if dtype in _ONEDNN and weight.device.type == "cpu":
            transform = torch.tensor(_FILTER_TRANSFORM, dtype=torch.float64)
            rows = torch.einsum("pk,ockl->pocl", transform, weight.double())
            self.rows = [row[:, :, None].to(dtype, memory_format=torch.channels_last) for row in rows]

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the convolution, written to ``out`` (B, O, H, W) where that is given."""
        if self.rows:
            return self._convolve_by_rows(x, out)
        found = convolve(x, self.weight, self.bias)
        return found if out is None else out.copy_(found)

    def accumulate(self, out: Tensor, x: Tensor) -> Tensor:
        """Add the convolution of x, whose bias must be ``None``, to ``out``, and return that."""
        assert self.bias is None
        return out.add_(self(x)) if self.rows else accumulate(out, x, self.weight)

    def _convolve_by_rows(self, x: Tensor, out: Tensor | None) -> Tensor:
        batch, _, height, width = x.shape
        height, width = height - 2, width - 2
        whole = height - height % 4
        if out is None:
            shape = (batch, self.channels, height, width)
            out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        if whole:
            # The second product enters all four rows with factor 1, and so takes the bias to each of them.
            products = [
                convolve(plane, weight, self.bias if index == 1 else None)
                for index, (plane, weight) in enumerate(zip(_transformed(x, whole // 4), self.rows, strict=True))
            ]
            _combine(products, out[:, :, :whole])
        if whole < height:
            out[:, :, whole:] = convolve(x[:, :, whole:], self.weight, self.bias)
        return out


def _transformed(x: Tensor, count: int) -> list[Tensor]:
    """Return the six transformed inputs (B, C, count, W) of x (B, C, 4·count + 2, W)."""
    d0, d1, d2, d3, d4, d5 = (x[:, :, first : first + 4 * count - 3 : 4] for first in range(6))
    even, odd = torch.add(d4, d2, alpha=-4), torch.add(d3, d1, alpha=-4)
    outer, inner = d4 - d2, d3 - d1
    return [
        torch.add(outer, d0 - d2, alpha=4),
        even + odd,
        even.sub_(odd),
        torch.add(outer, inner, alpha=2),
        outer.add_(inner, alpha=-2),
        torch.sub(d5, d3).add_(inner, alpha=-4),
    ]


def _combine(products: list[Tensor], out: Tensor) -> None:
    """Write the four rows of each group of ``out`` (B, O, 4·count, W) from six products (B, O, count, W)."""
    first, one, minus_one, two, minus_two, last = products
    near, far = one + minus_one, two + minus_two
    near_odd, far_odd = one.sub_(minus_one), two.sub_(minus_two)
    rows = [out[:, :, row::4] for row in range(4)]
    torch.add(near, far, out=rows[0]).add_(first)
    torch.add(near_odd, far_odd, alpha=2, out=rows[1])
    torch.add(near, far, alpha=4, out=rows[2])
    torch.add(near_odd, far_odd, alpha=8, out=rows[3]).add_(last)
