"""Attention in shifted windows for inference forms: all of some rows at once, so that what one step writes is still in
the cache for the next.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.machine.threads import in_parallel
from fusekit.models.blocks.attention import SwinBlock
from fusekit.models.blocks.convolution import convolve

# Heads are as wide as a multiple of that many channels, filled up by zeros: products of others take twice as long.
_STEP = 4


class BandedSwin:
    """A `SwinBlock` composed, of a map to itself or to another one: (B, H, W, C) → (B, H, W, C).

    Sides are multiples of a window's. Windows lie in rows next to each other; so those of as many rows are gone through
    one after the other, on a CPU, with all that follows of them. Query, key and value are one map of the tokens where
    they are of one map. Only windows that the shift made of pixels that are no neighbours are masked.

    Args:
        block: that it is composed of.
        other_norm: of the other map, where there is one.
    """

    def __init__(self, block: SwinBlock, other_norm: nn.LayerNorm | None = None) -> None:
        self.attention, self.perceptron, module = block.attention, block.perceptron, block.attention
        self.side, self.heads, self.shift_of = module.side, module.heads, module.shift_of
        self.norm, self.norm_perceptron = block.norm_attention, block.norm_perceptron
        width = module.query.in_features // module.heads
        self.scale, filled = width**-0.5, -width % _STEP
        query = _filled(_Weights.of(module.query), self.heads, filled)
        key_value = _filled(_Weights.of(module.key_value), 2 * self.heads, filled)
        self.other_norm = other_norm
        joint = [_Weights(*map(torch.cat, zip(query, key_value, strict=True)))]
        if other_norm is not None:
            joint = [query, key_value]
        self.asked = [_Linear(*each) for each in joint]
        output = _Weights.of(module.output)
        kept = F.pad(output.weight.view(-1, self.heads, width), (0, filled)).flatten(1)
        self.output = _Linear(kept, output.bias)
        first, _, last = block.perceptron
        self.wide, self.narrow = _Linear(*_Weights.of(first)), _Linear(*_Weights.of(last))
        # Of a map of two by two windows: inside, at the right, at the bottom, in the corner.
        bias = module.bias_of(2 * self.side, 2 * self.side).detach().expand(4, -1, -1, -1)
        self.bias = [bias[index : index + 1].contiguous() for index in range(4)]

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the map; ``other`` is what it attends to, as large as it is, or ``None`` for itself."""
        if x.device.type != "cpu":
            return self._whole(x, other)
        found = torch.empty_like(x)
        batch, height, width, _ = x.shape
        shift = self.shift_of(height, width)

        def piece(index: int) -> None:
            image, first = index // (height // self.side), index % (height // self.side) * self.side + shift
            end = first + self.side
            asked = None if other is None else _rows(other[image], first, self.side, shift)
            tokens = self._tokens(_rows(x[image], first, self.side, shift), asked, end > height, shift)
            tokens = torch.roll(tokens, shift, 1) if shift else tokens
            if end <= height:
                found[image, first:end] = tokens
            else:
                found[image, first:] = tokens[: height - first]
                found[image, : end - height] = tokens[height - first :]

        in_parallel(piece, range(batch * height // self.side))
        return found

    def _whole(self, x: Tensor, other: Tensor | None) -> Tensor:
        normed = self.norm(x)
        x = x + self.attention(normed, normed if other is None or self.other_norm is None else self.other_norm(other))
        return x + self.perceptron(self.norm_perceptron(x))

    def _tokens(self, rows: Tensor, other: Tensor | None, is_last: bool, shift: int) -> Tensor:
        """Return rows of windows (side, W, C) with attention and perceptron added."""
        x = self._windows(rows)
        q, k, v = self._parts(self.norm(x), other)
        if shift:
            inside, right = self.bias[2:] if is_last else self.bias[:2]
            parts = [self._attention(q[:-1], k[:-1], v[:-1], inside), self._attention(q[-1:], k[-1:], v[-1:], right)]
            found = torch.cat(parts)
        else:
            found = self._attention(q, k, v, self.bias[0])
        x = x + self.output(found.transpose(1, 2).flatten(2))
        x += self.narrow(F.gelu(self.wide(self.norm_perceptron(x))))
        return x.view(-1, self.side, self.side, x.shape[2]).transpose(0, 1).reshape(rows.shape)

    def _windows(self, rows: Tensor) -> Tensor:
        """Cut rows (side, W, C) into windows (W / side, side², C)."""
        side, width, channels = rows.shape
        return rows.view(side, width // side, side, channels).transpose(0, 1).reshape(-1, side * side, channels)

    def _parts(self, normed: Tensor, other: Tensor | None) -> list[Tensor]:
        """Return queries, keys and values, each (windows, heads, side², width)."""
        given = [normed]
        if other is not None:
            assert self.other_norm is not None
            given.append(self.other_norm(self._windows(other)))
        joint = [linear(each) for linear, each in zip(self.asked, given, strict=True)]
        size = (*normed.shape[:2], -1, self.heads, self.output.width // self.heads)
        maps = [each.view(size) for each in joint]
        return [part.transpose(1, 2) for each in maps for part in each.unbind(2)]

    def _attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)


class _Weights(NamedTuple):
    """Of a linear layer: (O, C) and (O,)."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, module: nn.Module) -> _Weights:
        assert isinstance(module, nn.Linear)
        return cls(module.weight.detach(), module.bias.detach())


def _filled(weights: _Weights, heads: int, by: int) -> _Weights:
    """Return weights of which each head's outputs are followed by so many zeros."""
    weight, bias = weights.weight.view(heads, -1, weights.weight.shape[1]), weights.bias.view(heads, -1)
    return _Weights(F.pad(weight, (0, 0, 0, by)).flatten(0, 1), F.pad(bias, (0, by)).flatten())


class _Linear:
    """A linear layer of tokens (n, 64, C) on a CPU: as a convolution, for which torch has the faster kernels."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.bias, self.width = bias, weight.shape[1]
        self.filters = weight[:, :, None, None].contiguous(memory_format=torch.channels_last)

    def __call__(self, x: Tensor) -> Tensor:
        return convolve(x[None].permute(0, 3, 1, 2), self.filters, self.bias).permute(0, 2, 3, 1)[0]


def _rows(x: Tensor, first: int, side: int, shift: int) -> Tensor:
    """Return rows of an image (H, W, C) from ``first`` on, around its end, moved to the left by ``shift``."""
    end = first + side
    rows = x[first:end] if end <= len(x) else torch.cat([x[first:], x[: end - len(x)]])
    return torch.roll(rows, -shift, 1) if shift else rows
