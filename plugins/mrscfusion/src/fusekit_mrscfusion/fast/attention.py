"""Attention of the inference form: all of eight rows at once, so that what one step writes is still in the cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import SwinBlock, convolve, in_parallel


class BandedSwin:
    """A `SwinBlock` composed: (B, H, W, C) → (B, H, W, C), sides multiples of a window's.

    Windows lie in rows next to each other; so those of as many rows are gone through one after the other, with all that
    follows of them. Query, key and value are one map of the tokens. Only windows that the shift made of pixels that are
    no neighbours are masked.
    """

    def __init__(self, block: SwinBlock) -> None:
        module = block.attention
        self.side, self.heads = module.side, module.heads
        self.norm, self.norm_perceptron = block.norm_attention, block.norm_perceptron
        self.joint = _Linear(
            torch.cat([module.query.weight, module.key_value.weight]),
            torch.cat([module.query.bias, module.key_value.bias]),
        )
        self.output = _Linear.of(module.output)
        first, _, last = block.perceptron
        self.wide, self.narrow = _Linear.of(first), _Linear.of(last)
        self.shift_of = module.shift_of
        # Of a map of two by two windows: inside, at the right, at the bottom, in the corner.
        bias = module.bias_of(2 * self.side, 2 * self.side).detach().expand(4, -1, -1, -1)
        self.bias = [bias[index : index + 1].contiguous() for index in range(4)]
        self.plain = self.bias[0]

    def __call__(self, x: Tensor) -> Tensor:
        found = torch.empty_like(x)
        batch, height, width, _ = x.shape
        shift = self.shift_of(height, width)

        def piece(index: int) -> None:
            image, first = index // (height // self.side), index % (height // self.side) * self.side + shift
            tokens = self._tokens(_rows(x[image], first, self.side, shift), first + self.side > height, shift)
            end = first + self.side
            tokens = torch.roll(tokens, shift, 1) if shift else tokens
            if end <= height:
                found[image, first:end] = tokens
            else:
                found[image, first:] = tokens[: height - first]
                found[image, : end - height] = tokens[height - first :]

        in_parallel(piece, range(batch * height // self.side))
        return found

    def _tokens(self, x: Tensor, is_last: bool, shift: int) -> Tensor:
        """Return rows of windows (side, W, C) with attention and perceptron added."""
        side, width, channels = x.shape
        x = x.view(side, width // side, side, channels).transpose(0, 1).reshape(-1, side * side, channels)
        parts = self.joint(self.norm(x)).view(len(x), side * side, 3, self.heads, -1)
        q, k, v = (each.transpose(1, 2) for each in parts.unbind(2))
        if shift:
            inside, right = self.bias[2:] if is_last else self.bias[:2]
            found = torch.cat([_attention(q[:-1], k[:-1], v[:-1], inside), _attention(q[-1:], k[-1:], v[-1:], right)])
        else:
            found = _attention(q, k, v, self.plain)
        x = x + self.output(found.transpose(1, 2).reshape(x.shape))
        x += self.narrow(F.gelu(self.wide(self.norm_perceptron(x))))
        return x.view(-1, side, side, channels).transpose(0, 1).reshape(side, width, channels)


class _Linear:
    """A linear layer of tokens (n, 64, C): on a CPU as a convolution, for which torch has the faster kernels."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach(), bias.detach()
        self.filters = self.weight[:, :, None, None].contiguous(memory_format=torch.channels_last)

    @classmethod
    def of(cls, module: nn.Module) -> _Linear:
        """Return the layer of a plain module."""
        assert isinstance(module, nn.Linear)
        return cls(module.weight, module.bias)

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.linear(x, self.weight, self.bias)
        return convolve(x[None].permute(0, 3, 1, 2), self.filters, self.bias).permute(0, 2, 3, 1)[0]


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _rows(x: Tensor, first: int, side: int, shift: int) -> Tensor:
    """Return rows of an image (H, W, C) from ``first`` on, around its end, moved to the left by ``shift``."""
    end = first + side
    rows = x[first:end] if end <= len(x) else torch.cat([x[first:], x[: end - len(x)]])
    return torch.roll(rows, -shift, 1) if shift else rows
