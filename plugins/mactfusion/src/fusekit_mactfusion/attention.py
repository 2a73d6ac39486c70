"""Attention in windows and on a grid (Tu et al.: MaxViT, ECCV 2022), as MACTFusion has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Side of windows and of the grid, heads, and the factor on the products of query and key, which is heads^-0.5.
SIDE, HEADS, SCALE = 8, 4, 0.5


def to_windows(x: Tensor) -> Tensor:
    """Cut (B, H, W, C) into windows of 8×8 neighbours: (B·H/8·W/8, 64, C)."""
    batch, height, width, channels = x.shape
    parts = x.view(batch, height // SIDE, SIDE, width // SIDE, SIDE, channels).transpose(2, 3)
    return parts.reshape(-1, SIDE * SIDE, channels)


def from_windows(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `to_windows`, to (B, *size, C)."""
    height, width = size
    parts = tokens.view(-1, height // SIDE, width // SIDE, SIDE, SIDE, tokens.shape[2]).transpose(2, 3)
    return parts.reshape(-1, height, width, tokens.shape[2])


def to_grid(x: Tensor) -> Tensor:
    """Cut (B, H, W, C) into sets of 8×8 pixels that lie H/8 and W/8 apart: (B·H/8·W/8, 64, C)."""
    batch, height, width, channels = x.shape
    parts = x.view(batch, SIDE, height // SIDE, SIDE, width // SIDE, channels).permute(0, 2, 4, 1, 3, 5)
    return parts.reshape(-1, SIDE * SIDE, channels)


def from_grid(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `to_grid`, to (B, *size, C)."""
    height, width = size
    parts = tokens.view(-1, height // SIDE, width // SIDE, SIDE, SIDE, tokens.shape[2])
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(-1, height, width, tokens.shape[2])


class Attention(nn.Module):
    """Attention of 64 tokens to 64 tokens with a trained bias for each offset, and a perceptron behind it.

    Args:
        channels: of a token.
        grid: whether the tokens are those of the grid, else those of windows.
    """

    offsets: Tensor

    def __init__(self, channels: int, *, grid: bool) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.offset_bias = nn.Parameter(torch.zeros((2 * SIDE - 1) ** 2, HEADS))
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        nn.init.trunc_normal_(self.offset_bias, std=0.02)
        place = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")).flatten(1)
        down, right = (place[:, :, None] - place[:, None, :]).unbind(0)
        offsets = (down + SIDE - 1) * (2 * SIDE - 1) + right + SIDE - 1
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, own: Tensor, other: Tensor | None = None) -> Tensor:
        """Return ``own`` with what it attends to added: (B, H, W, C), sides multiples of 8.

        Args:
            own: that asks.
            other: that is asked, ``own`` itself without.
        """
        queries = self.norm(own)
        keys = queries if other is None else self.norm(other)
        own = own + self.project(self.attend(self.query(queries), self.key_value(keys)))
        return own + self.perceptron(own)

    def attend(self, query: Tensor, key_value: Tensor) -> Tensor:
        """Return what queries (B, H, W, C) find among keys and values (B, H, W, 2·C): (B, H, W, C)."""
        size = (query.shape[1], query.shape[2])
        cut, join = (to_grid, from_grid) if self.grid else (to_windows, from_windows)
        q, k, v = (heads(cut(each)) for each in (query, *key_value.chunk(2, dim=3)))
        # With four axes torch takes its fast kernels.
        bias = self.offset_bias[self.offsets].permute(2, 0, 1)[None].contiguous()
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=SCALE)
        return join(found.transpose(1, 2).flatten(2), size)


def heads(tokens: Tensor) -> Tensor:
    """Return tokens (n, 64, C) by heads: (n, heads, 64, C / heads)."""
    return tokens.reshape(len(tokens), SIDE * SIDE, HEADS, -1).transpose(1, 2)
