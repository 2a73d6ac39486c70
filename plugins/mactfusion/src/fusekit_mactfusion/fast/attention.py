"""Attention of the inference form: all of eight rows at once, so that what one step writes is still in the cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import in_parallel
from fusekit_mactfusion.attention import SCALE, SIDE, Attention, heads


class BandedAttention:
    """An `Attention` composed: (B, H, W, C) → (B, H, W, C), sides multiples of 8.

    Windows lie in eight rows next to each other, sets of the grid in eight rows that are H/8 apart; so rows are gone
    through eight by eight, on a CPU, with all that follows of them. Query, key and value are one map of the tokens.
    """

    def __init__(self, module: Attention) -> None:
        self.grid = module.grid
        self.norm, self.project, self.perceptron = module.norm, module.project, module.perceptron
        self.query, self.key_value = module.query, module.key_value
        self.joint = (
            torch.cat([module.query.weight, module.key_value.weight]),
            torch.cat([module.query.bias, module.key_value.bias]),
        )
        self.bias = module.offset_bias[module.offsets].permute(2, 0, 1)[None].contiguous()

    def __call__(self, own: Tensor, other: Tensor | None = None) -> Tensor:
        found = torch.empty_like(own)
        count = own.shape[1] // SIDE if own.device.type == "cpu" else 1

        def piece(index: int) -> None:
            tokens = self._cut(own, index, count)
            asked = None if other is None else self._cut(other, index, count)
            self._write(found, self._tokens(tokens, asked), index, count)

        in_parallel(piece, range(count))
        return found

    def _tokens(self, own: Tensor, other: Tensor | None) -> Tensor:
        """Return ``own`` (n, 64, C) with what it attends to added."""
        queries = self.norm(own)
        if other is None:
            parts = F.linear(queries, *self.joint).chunk(3, dim=2)
        else:
            parts = (self.query(queries), *self.key_value(self.norm(other)).chunk(2, dim=2))
        q, k, v = (heads(each) for each in parts)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias, scale=SCALE)
        own = own + self.project(found.transpose(1, 2).flatten(2))
        return own + self.perceptron(own)

    def _rows(self, x: Tensor, index: int, count: int) -> Tensor:
        """Return a view of the rows of a piece as the sets lie in it: (B, sets down, 8, sets across, 8, C).

        Of ``count`` pieces each is one set down, of one piece it is all of them.
        """
        batch, height, width, channels = x.shape
        if self.grid:
            parts = x.view(batch, SIDE, height // SIDE, SIDE, width // SIDE, channels).permute(0, 2, 1, 4, 3, 5)
        else:
            parts = x.view(batch, height // SIDE, SIDE, width // SIDE, SIDE, channels)
        return parts if count == 1 else parts[:, index : index + 1]

    def _cut(self, x: Tensor, index: int, count: int) -> Tensor:
        parts = self._rows(x, index, count).transpose(2, 3)
        return parts.reshape(-1, SIDE * SIDE, x.shape[3])

    def _write(self, x: Tensor, tokens: Tensor, index: int, count: int) -> None:
        parts = self._rows(x, index, count).transpose(2, 3)
        parts.copy_(tokens.view(parts.shape))
