"""Maps of the inference form are computed in bands of rows, so that what one step writes is still in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import convolve, in_parallel
from fusekit_mrscfusion.fast.winograd import LongWinograd

#: Pixels of a band, at the most or not many more, and of what its rows are a multiple: so many are computed at once.
_PIXELS, _STEP = 12288, 6
#: Fewer channels than that are convolved directly.
_FEW = 16
_LAST = torch.channels_last


def by_bands(shape: Sequence[int], channels: int, compute: Callable[[slice, Tensor], Tensor], like: Tensor) -> Tensor:
    """Return a map (B, channels, H, W), channels last, of which each band of rows is computed alone.

    Args:
        shape: (B, C, H, W) of the maps that it is made of.
        channels: of the result.
        compute: is given rows, and where they lie in the result, (B, channels, rows, W); it returns what stands there,
            or what is to be written there.
        like: has the result's dtype and device.
    """
    batch, _, height, width = shape
    size = (batch, channels, height, width)
    found = torch.empty(size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    side = _band(height, width) if like.device.type == "cpu" else height

    def piece(first: int) -> None:
        rows = slice(first, min(first + side, height))
        place = found[:, :, rows]
        made = compute(rows, place)
        if made.data_ptr() != place.data_ptr():
            place.copy_(made)

    in_parallel(piece, range(0, height, side))
    return found


def _band(height: int, width: int) -> int:
    """Return the rows of a band: bands are about as high as each other, and there are two at least, for two cores."""
    count = max(2, -(-height * width // _PIXELS))
    return max(1, round(height / count / _STEP)) * _STEP


def gathered(maps: Sequence[Tensor], rows: slice, *, mirrored: bool) -> Tensor:
    """Return rows of several maps (B, C, H, W) as one, with a pixel more on each side, channels last.

    Args:
        maps: of one size; sides of 2 pixels or more.
        rows: that are wanted.
        mirrored: whether the border is mirrored, else zero.
    """
    batch, _, height, width = maps[0].shape
    size = (batch, sum(each.shape[1] for each in maps), rows.stop - rows.start + 2, width + 2)
    found = torch.empty(size, dtype=maps[0].dtype, device=maps[0].device, memory_format=torch.channels_last)
    first, end = max(rows.start - 1, 0), min(rows.stop + 1, height)
    top = first - rows.start + 1
    inner = found[:, :, top : top + end - first, 1:-1]
    start = 0
    for each in maps:
        inner[:, start : start + each.shape[1]] = each[:, :, first:end]
        start += each.shape[1]
    _border(found, top=top > 0, bottom=rows.stop == height, mirrored=mirrored)
    return found


def _border(x: Tensor, *, top: bool, bottom: bool, mirrored: bool) -> None:
    """Fill the outermost columns of x (B, C, H, W), and the first and last row where the image ends there."""
    for lines, first, last in ((x.transpose(2, 3), True, True), (x, top, bottom)):
        if first:
            lines[:, :, 0] = lines[:, :, 2] if mirrored else 0
        if last:
            lines[:, :, -1] = lines[:, :, -3] if mirrored else 0


class Convolution3:
    """A 3×3 convolution of bands.

    Args:
        weight: (O, C, 3, 3).
        bias: (O,).
        mirrored: whether the border is mirrored, else zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, mirrored: bool) -> None:
        self.mirrored = mirrored
        weight, self.bias = weight.detach(), bias.detach().clone()
        # In 8 bits of precision the transform would lose too many, and for few channels it takes longer than it saves.
        pays = weight.dtype == torch.float32 and weight.device.type == "cpu" and min(weight.shape[:2]) >= _FEW
        self.rows = LongWinograd(weight, self.bias) if pays else None
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    @classmethod
    def of(cls, module: nn.Module) -> Convolution3:
        """Return the convolution of a plain module."""
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None
        return cls(module.weight, module.bias, mirrored=module.padding_mode == "reflect")

    def __call__(self, padded: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the convolution of a band that has a pixel more on each side, written to ``out`` or not."""
        return self.rows(padded, out) if self.rows is not None else convolve(padded, self.weight, self.bias)

    def band(self, maps: Sequence[Tensor], rows: slice, out: Tensor | None = None) -> Tensor:
        """Return rows of the convolution of maps that are seen as one, written to ``out`` or not."""
        return self(gathered(maps, rows, mirrored=self.mirrored), out)


class DoubledConvolution3:
    """A 3×3 convolution, mirrored at the border, of a map that is seen twice as large by repeating its pixels.

    It is made of the map as it is: along a row, of each pair of equal pixels the left one sees two different ones, with
    the taps 0 and 1 + 2, and the right one too, with 0 + 1 and 2. Along a column the three taps are computed once for
    both. That is 3 multiplications a pixel and pair of channels.

    Args:
        weight: (O, C, 3, 3).
    """

    def __init__(self, weight: Tensor) -> None:
        # Of each tap along a column all outputs, one tap after the other.
        left, middle, right = weight.detach().permute(2, 0, 1, 3).flatten(0, 1)[:, :, None].unbind(3)
        pairs = [(left, middle + right), (left + middle, right)]
        self.columns = [torch.stack(each, 3).contiguous(memory_format=torch.channels_last) for each in pairs]

    def add_to(self, out: Tensor, x: Tensor, rows: slice) -> None:
        """Add rows of the convolution of x (B, C, H, W) to ``out`` (B, O, rows, 2·W); both ends of them are even."""
        first, end = rows.start // 2, rows.stop // 2
        # What is mirrored at the border of the doubled map is the outermost pixel again.
        lines = [x[:, :, max(first - 1, 0) : min(end + 1, x.shape[2])]]
        lines = ([x[:, :, :1]] if first == 0 else []) + lines + ([x[:, :, -1:]] if end == x.shape[2] else [])
        padded = F.pad(torch.cat(lines, 2), (1, 1, 0, 0), mode="replicate").contiguous(memory_format=_LAST)
        for column, weight in enumerate(self.columns):
            upper, middle, lower = convolve(padded, weight)[..., column : column + x.shape[3]].chunk(3, 1)
            own = middle[:, :, 1:-1]
            for row, nearer in enumerate((upper[:, :, :-2] + lower[:, :, 1:-1], upper[:, :, 1:-1] + lower[:, :, 2:])):
                out[:, :, row::2, column::2] += nearer.add_(own)


class Convolution1:
    """A 1×1 convolution of (B, C, H, W), channels last."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach().contiguous(memory_format=torch.channels_last), bias.detach().clone()

    @classmethod
    def of(cls, module: nn.Module) -> Convolution1:
        """Return the convolution of a plain module."""
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None
        return cls(module.weight, module.bias)

    def __call__(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias)
