"""Attention within shifted windows (Liu et al.: Swin Transformer, ICCV 2021), of one map or across two.

Maps are (B, H, W, C), sides a multiple of the window. Position biases, masks and windows are those of the published
Swin Transformer; masks are computed for any size. A map of a single window is shifted too, and then attends within its
quarters: so do networks that were built for larger maps and are given smaller ones.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Added to the scores of pixels that the shift brought into one window without their being neighbours.
_APART = -100.0


def windows(x: Tensor, side: int, heads: int) -> Tensor:
    """Cut a map (B, H, W, C) into windows, row by row, and heads: (B · windows, heads, side², C / heads)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // side, side, width // side, side, heads, channels // heads)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, heads, side * side, channels // heads)


def joined(x: Tensor, side: int, height: int, width: int) -> Tensor:
    """Put windows together again: the inverse of `windows`."""
    heads, each = x.shape[1], x.shape[3]
    x = x.view(-1, height // side, width // side, heads, side, side, each)
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, height, width, heads * each)


# What is kept must serve training too, whoever asks first.
@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def shift_mask(height: int, width: int, side: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return what is added to the scores of a shifted map: (windows, 1, side², side²), 0 or -100.

    The shift brings the last rows and columns beside the first ones; nine regions tell which pixels belong together.
    """
    rows, columns = (
        (torch.arange(length, device=device) >= length - side).long()
        + (torch.arange(length, device=device) >= length - shift).long()
        for length in (height, width)
    )
    regions = windows((3 * rows[:, None] + columns)[None, :, :, None], side, 1)[:, 0, :, 0]
    apart = regions[:, :, None] != regions[:, None, :]
    return torch.zeros(apart.shape, device=device, dtype=dtype).masked_fill(apart, _APART)[:, None]


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def relative_positions(side: int, device: torch.device) -> Tensor:
    """Return the place in the table of position biases of each query and key of a window: (side⁴,)."""
    rows, columns = (each.flatten() for each in torch.meshgrid(*[torch.arange(side, device=device)] * 2, indexing="ij"))
    differences = [each[:, None] - each[None, :] + side - 1 for each in (rows, columns)]
    return (differences[0] * (2 * side - 1) + differences[1]).flatten()


class WindowAttention(nn.Module):
    """Attention of queries from one map to keys and values from the same or another one, in windows.

    Scores are scaled by the root of the width of a head; each offset of a key from its query has a trained bias.

    Args:
        width: channels.
        heads: that they are divided into.
        side: of a window, in pixels.
        shift: by which the windows are moved, 0 or half a window.
        shift_single: whether they are moved too on a map that is one window high or wide.
    """

    def __init__(self, width: int, heads: int, side: int, shift: int, *, shift_single: bool = True) -> None:
        super().__init__()
        self.heads, self.side, self.shift, self.shift_single = heads, side, shift, shift_single
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.position_bias = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (B, H, W, C) of queries from ``x`` and keys and values from ``other``, both (B, H, W, C)."""
        height, width = x.shape[1:3]
        shift = self.shift_of(height, width)
        if shift:
            x, other = (torch.roll(each, (-shift, -shift), (1, 2)) for each in (x, other))
        query = windows(self.query(x), self.side, self.heads)
        key, value = (windows(each, self.side, self.heads) for each in self.key_value(other).chunk(2, -1))
        bias = self.bias_of(height, width).to(x.dtype)
        # Without a shift all windows have the same.
        bias = bias if len(bias) == 1 else bias.repeat(len(x), 1, 1, 1)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        found = self.output(joined(found, self.side, height, width))
        return torch.roll(found, (shift, shift), (1, 2)) if shift else found

    def shift_of(self, height: int, width: int) -> int:
        """Return by how many pixels the windows of a map are moved."""
        return self.shift if self.shift_single or min(height, width) > self.side else 0

    def bias_of(self, height: int, width: int) -> Tensor:
        """Return what is added to the scores of a map: (1 or windows, heads, side², side²)."""
        area, table = self.side * self.side, self.position_bias
        bias = table[relative_positions(self.side, table.device)].view(area, area, self.heads).permute(2, 0, 1)[None]
        shift = self.shift_of(height, width)
        return bias + shift_mask(height, width, self.side, shift, table.device, table.dtype) if shift else bias


class Perceptron(nn.Sequential):
    """Two linear layers with GELU between, as wide inside as ``ratio`` times outside."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))


class SwinBlock(nn.Module):
    """Attention of a map (B, H, W, C) to itself, and a perceptron, each behind a layer norm and added to what went in.

    Args:
        width: C.
        heads: that the channels are divided into.
        side: of a window, in pixels, of which H and W are multiples.
        shift: by which the windows are moved, 0 or half a window.
        ratio: of the perceptron's width to C.
        shift_single: whether they are moved too on a map that is one window high or wide.
    """

    def __init__(
        self, width: int, heads: int, side: int, shift: int, ratio: int = 2, *, shift_single: bool = True
    ) -> None:
        super().__init__()
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, side, shift, shift_single=shift_single)
        self.perceptron = Perceptron(width, ratio)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm_attention(x)
        x = x + self.attention(normed, normed)
        return x + self.perceptron(self.norm_perceptron(x))
