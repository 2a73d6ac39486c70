"""Maps of the inference form are computed in bands of rows, so that what one step writes is still in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fusekit.extend import WinogradConvolution, convolve, in_parallel

#: Pixels of a band, about, and the least number of its rows; a multiple of the four rows that are computed at once.
_PIXELS, _LEAST = 8192, 8
#: Fewer channels than that are convolved directly.
_FEW = 16


class Doubled(NamedTuple):
    """A map that is seen twice as large, by repeating its pixels.

    Attributes:
        map: (B, C, H / 2, W / 2).
    """

    map: Tensor


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
    side = max(_LEAST, _PIXELS // width // 4 * 4) if like.device.type == "cpu" else height

    def piece(first: int) -> None:
        rows = slice(first, min(first + side, height))
        place = found[:, :, rows]
        made = compute(rows, place)
        if made.data_ptr() != place.data_ptr():
            place.copy_(made)

    in_parallel(piece, range(0, height, side))
    return found


def gathered(maps: Sequence[Tensor | Doubled], rows: slice, *, mirrored: bool) -> Tensor:
    """Return rows of several maps (B, C, H, W) as one, with a pixel more on each side, channels last.

    Args:
        maps: of one size; sides of 2 pixels or more.
        rows: that are wanted.
        mirrored: whether the border is mirrored, else zero.
    """
    plain = [each.map if isinstance(each, Doubled) else each for each in maps]
    scale = 2 if isinstance(maps[0], Doubled) else 1
    height, width = (side * scale for side in plain[0].shape[2:])
    size = (len(plain[0]), sum(each.shape[1] for each in plain), rows.stop - rows.start + 2, width + 2)
    found = torch.empty(size, dtype=plain[0].dtype, device=plain[0].device, memory_format=torch.channels_last)
    first, end = max(rows.start - 1, 0), min(rows.stop + 1, height)
    top = first - rows.start + 1
    inner = found[:, :, top : top + end - first, 1:-1]
    start = 0
    for each, of_it in zip(maps, plain, strict=True):
        part = inner[:, start : start + of_it.shape[1]]
        start += of_it.shape[1]
        if isinstance(each, Doubled):
            repeated = of_it[:, :, first // 2 : (end + 1) // 2].repeat_interleave(2, 2)
            repeated = repeated[:, :, first % 2 : first % 2 + end - first]
            part[..., ::2], part[..., 1::2] = repeated, repeated
        else:
            part.copy_(of_it[:, :, first:end])
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
        module: with weights and their border, zero or mirrored.
    """

    def __init__(self, module: nn.Module) -> None:
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None
        self.mirrored, self.channels = module.padding_mode == "reflect", module.out_channels
        weight, self.bias = module.weight.detach(), module.bias.detach().clone()
        # In 8 bits of precision the transform would lose too many, and for few channels it takes longer than it saves.
        pays = weight.dtype == torch.float32 and min(weight.shape[:2]) >= _FEW
        self.rows = WinogradConvolution(weight, self.bias, weight.dtype) if pays else None
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def of(self, padded: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the convolution of a band that has a pixel more on each side, written to ``out`` or not."""
        return self.rows(padded, out) if self.rows is not None else convolve(padded, self.weight, self.bias)

    def band(self, maps: Sequence[Tensor | Doubled], rows: slice, out: Tensor | None = None) -> Tensor:
        """Return rows of the convolution of maps that are seen as one, written to ``out`` or not."""
        return self.of(gathered(maps, rows, mirrored=self.mirrored), out)


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
