"""Attention across two maps (B, H, W, C): each asks the other as it was before the block."""

from __future__ import annotations

from torch import Tensor, nn

from fusekit.extend import SwinBlock


class CrossHalf(SwinBlock):
    """One half of a cross block: a map that attends to another one, which went through that one's own norm."""

    def attend(self, x: Tensor, normed: Tensor, other: Tensor) -> Tensor:
        """Return the map; ``normed`` and ``other`` are both maps behind their norms, before the block."""
        x = x + self.attention(normed, other)
        return x + self.perceptron(self.norm_perceptron(x))


class CrossBlock(nn.Module):
    """Two maps, each attending to the other as it was before the block."""

    def __init__(self, width: int, heads: int, side: int, shift: int) -> None:
        super().__init__()
        self.a, self.b = CrossHalf(width, heads, side, shift), CrossHalf(width, heads, side, shift)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        of_a, of_b = self.a.norm_attention(a), self.b.norm_attention(b)
        return self.a.attend(a, of_a, of_b), self.b.attend(b, of_b, of_a)
