"""SFNN of images in tiles: the nuclear norms of whole softmax maps, from passes over parts of them.

For φ = max (`GreatestNorms`) the result is that of the whole image. The first pass finds an upper bound of each
channel's norm; later ones collect the maps of the channels that can still win, a few at a time, and decompose them.

The other rules need the norms of all channels. Where a side is longer than 1024 pixels, or the maps would not fit the
memory, their norms are estimated from block means (`AllNorms`), and the rule reports it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.rules.base import FixedWeights, Survey, normalized
from fusekit.windows import Tile
from fusekit_ehdran import sfnn

#: Longest side of maps that are decomposed whole where all channels are needed.
EXACT_SIDE = 1024
#: The mean singular value of a large random square matrix, in units of √r times its entries' deviation.
_NOISE = 8 / (3 * math.pi)
# A bound holds for exact numbers; rounding may lift a computed norm by a little.
_SLACK = 1 + 1e-5


class SFNN(sfnn.SFNN):
    """`fusekit_ehdran.sfnn.SFNN`, for images in tiles too."""

    working = 2.5

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return GreatestNorms(count, shape, memory) if len(shape) == 4 else None


class _AllChannels(sfnn.SoftmaxNuclearNormRule):
    """A rule that needs the norms of all channels, for images in tiles too."""

    working = 2.5

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return AllNorms(self, count, shape, memory) if len(shape) == 4 else None


class SFNNMean(_AllChannels, sfnn.SFNNMean):
    """`fusekit_ehdran.sfnn.SFNNMean`, for images in tiles too."""


class SFNNSum(_AllChannels, sfnn.SFNNSum):
    """`fusekit_ehdran.sfnn.SFNNSum`, for images in tiles too."""


class SFNNChannel(_AllChannels, sfnn.SFNNChannel):
    """`fusekit_ehdran.sfnn.SFNNChannel`, for images in tiles too."""


class GreatestNorms(Survey):
    """The greatest nuclear norm of each source's softmax maps, exactly, and the weights of SFNN from them.

    ‖A‖_* ≤ σ + √((r − 1)(‖A‖_F² − σ²)) for every σ from ‖A‖_F/√r to the greatest singular value; after the first pass
    σ is the greater of ‖A·1‖/√W and ‖Aᵀ·1‖/√H. Channels are collected in the order of this bound until none that is
    left can win; a collected one is decomposed unless a tighter σ, by power iteration, shows that it cannot.

    Args:
        count: N sources.
        shape: of the features of each, (B, C, H, W).
        memory: bytes for collected maps; one a source and image at least.
    """

    def __init__(self, count: int, shape: Sequence[int], memory: int) -> None:
        batch, channels, height, width = shape
        self._shape = (count, batch, channels)
        self._squares = torch.zeros(count, batch, channels, dtype=torch.float64)
        self._rows = torch.zeros(count, batch, channels, height, dtype=torch.float64)
        self._columns = torch.zeros(count, batch, channels, width, dtype=torch.float64)
        self._at_a_time = max(1, min(memory // (4 * height * width * count * batch), channels))
        self._searches: list[_Search] | None = None

    def add(self, features: Sequence[Tensor], tile: Tile) -> None:
        for source, feature in enumerate(features):
            shares = _shares(feature, tile)
            if self._searches is not None:
                for image, search in enumerate(self._searches):
                    if image // self._shape[1] == source:
                        search.collect(shares[image % self._shape[1]], tile)
                continue
            self._squares[source] += shares.square().sum((2, 3), dtype=torch.float64).cpu()
            self._rows[source, ..., tile.core[0]] += shares.sum(3, dtype=torch.float64).cpu()
            self._columns[source, ..., tile.core[1]] += shares.sum(2, dtype=torch.float64).cpu()

    def finish_pass(self) -> bool:
        if self._searches is None:
            height, width = self._rows.shape[-1], self._columns.shape[-1]
            sigma = torch.maximum(self._rows.norm(dim=-1) / width**0.5, self._columns.norm(dim=-1) / height**0.5)
            bounds = _upper_bound(sigma, self._squares, min(height, width)).flatten(0, 1)
            self._searches = [_Search(bound.tolist(), (height, width), self._at_a_time) for bound in bounds]
        else:
            for search in self._searches:
                search.decompose()
        return any(search.wanted for search in self._searches)

    def rule(self) -> FixedWeights:
        assert self._searches is not None
        greatest = torch.tensor([search.best for search in self._searches]).view(self._shape[:2])
        decomposed = [search.decomposed for search in self._searches]
        facts = {"channels": self._shape[2], "decomposed": sum(decomposed)}
        return FixedWeights(normalized(greatest.square())[..., None, None, None], facts)


class _Search:
    """The search for the greatest norm among one image's channels.

    Args:
        bounds: upper bounds of the norms.
        size: height and width.
        at_a_time: how many maps may be collected in a pass.

    Attributes:
        wanted: channels to be collected in the next pass; none when the search is over.
        best: greatest norm so far.
        decomposed: how many channels were decomposed.
    """

    def __init__(self, bounds: Sequence[float], size: tuple[int, int], at_a_time: int) -> None:
        self._bounds, self._size, self._at_a_time = bounds, size, at_a_time
        self._left = sorted(range(len(bounds)), key=lambda channel: -bounds[channel])
        self._maps: Tensor | None = None
        self.best, self.decomposed = 0.0, 0
        self.wanted: list[int] = []
        self._choose()

    def _choose(self) -> None:
        self._left = [channel for channel in self._left if self._bounds[channel] * _SLACK >= self.best]
        self.wanted, self._left = self._left[: self._at_a_time], self._left[self._at_a_time :]

    def collect(self, shares: Tensor, tile: Tile) -> None:
        """Take the wanted maps of a tile's core from ``shares`` (C, h, w)."""
        if not self.wanted:
            return
        if self._maps is None:
            self._maps = shares.new_empty(len(self.wanted), *self._size)
        rows, columns = tile.core
        self._maps[:, rows, columns] = shares[self.wanted]

    def decompose(self) -> None:
        """Find the norms of the collected maps that can win, and choose what to collect next."""
        if self._maps is None:
            return
        coarse = [self._bounds[channel] for channel in self.wanted]
        bounds = [min(_tightened(each), bound) for each, bound in zip(self._maps, coarse, strict=True)]
        for index in sorted(range(len(bounds)), key=lambda index: -bounds[index]):
            if bounds[index] * _SLACK >= self.best:
                self.best = max(self.best, _nuclear_norm(self._maps[index]))
                self.decomposed += 1
        self._maps = None
        self._choose()


class AllNorms(Survey):
    """The nuclear norms of all channels' maps: exact, or estimated from the means over blocks of f×f pixels.

    With P and Q the orthonormal indicators of blocks of rows and columns, M = PᵀAQ holds the block means times f. By
    the pinching inequality ‖A‖_* ≥ ‖M‖_* + ‖D‖_*, D being what A does outside these blocks' spaces in rows and columns.
    M is decomposed; D is taken for noise of the energy that the block means leave, spread evenly. Weights are shares,
    in which most of the error cancels.

    Args:
        made_for: turns norms into weights.
        count: N sources.
        shape: of the features of each, (B, C, H, W).
        memory: bytes for the block means.
    """

    def __init__(self, made_for: sfnn.SoftmaxNuclearNormRule, count: int, shape: Sequence[int], memory: int) -> None:
        batch, channels, height, width = shape
        self._made_for = made_for
        self._block = -(-max(height, width) // EXACT_SIDE)
        while self._block < 64 and 4 * count * batch * channels * self._blocks(height) * self._blocks(width) > memory:
            self._block += 1
        self._size = (height, width)
        self._sums = torch.zeros(count, batch, channels, self._blocks(height), self._blocks(width))
        self._squares = torch.zeros(count, batch, channels, dtype=torch.float64)

    def _blocks(self, length: int) -> int:
        return -(-length // self._block)

    def add(self, features: Sequence[Tensor], tile: Tile) -> None:
        before = [span.start % self._block for span in tile.core]
        after = [-span.stop % self._block for span in tile.core]
        rows, columns = (slice(span.start // self._block, self._blocks(span.stop)) for span in tile.core)
        for source, feature in enumerate(features):
            shares = _shares(feature, tile)
            self._squares[source] += shares.square().sum((2, 3), dtype=torch.float64).cpu()
            blocks = F.pad(shares, (before[1], after[1], before[0], after[0])) if any(before + after) else shares
            sums = F.avg_pool2d(blocks, self._block, divisor_override=1) if self._block > 1 else blocks
            self._sums[source, ..., rows, columns] += sums.cpu()

    def rule(self) -> FixedWeights:
        count, batch, channels = self._squares.shape
        pairs = zip(self._sums.flatten(0, 2), self._squares.flatten().tolist(), strict=True)
        norms = torch.tensor([self._norm(sums, squares) for sums, squares in pairs]).view(count, batch, channels)
        facts: dict[str, Any] = {"channels": channels, "decomposed": norms.numel()}
        if self._block > 1:
            side = self._block
            facts["approximation"] = f"norms of the means over {side}×{side} pixels, the remainder taken for noise"
        return FixedWeights(normalized(self._made_for.activity(norms))[..., None, None], facts)

    def _norm(self, sums: Tensor, squares: float) -> float:
        """Return the norm of a map, of its sums over blocks (h, w) and its squared Frobenius norm."""
        tall, wide = (_block_sides(length, self._block) for length in self._size)
        means = sums / (tall.sqrt()[:, None] * wide.sqrt())
        if self._block == 1:
            return _nuclear_norm(means)
        rank = min(self._size)
        left = squares - float(means.square().sum(dtype=torch.float64))
        # So little is rounding.
        energy = left * (self._block - 1) / (self._block + 1) if left > 1e-6 * squares else 0.0
        return _nuclear_norm(means) + _NOISE * (energy * (rank - self._blocks(rank))) ** 0.5


def _shares(feature: Tensor, tile: Tile) -> Tensor:
    """Return the softmax over channels in the tile's core: (B, C, h, w), float32."""
    return tile.inner(feature).float().softmax(dim=1)


def _upper_bound(sigma: Tensor, squares: Tensor, rank: int) -> Tensor:
    """Return σ + √((r − 1)(‖A‖_F² − σ²)), σ being raised to ‖A‖_F/√r; float64."""
    # Rounding must not lift σ above the greatest singular value.
    sigma = torch.maximum(sigma * (1 - 1e-6), (squares / rank).sqrt())
    return sigma + ((rank - 1) * (squares - sigma.square()).clamp_min(0)).sqrt()


def _tightened(matrix: Tensor) -> float:
    """Return an upper bound of the nuclear norm of (H, W), σ being from a few steps of power iteration."""
    rows = F.normalize(matrix.sum(1), dim=0)
    product = rows
    for _ in range(4):
        product = matrix @ F.normalize(rows @ matrix, dim=0)
        rows = F.normalize(product, dim=0)
    squares = matrix.square().sum(dtype=torch.float64)
    return float(_upper_bound(product.double().norm(), squares, min(matrix.shape)))


def _nuclear_norm(matrix: Tensor) -> float:
    """Return the sum of the singular values of (H, W)."""
    with sfnn._one_thread():
        return float(torch.linalg.svdvals(matrix).sum())


def _block_sides(length: int, block: int) -> Tensor:
    """Return the lengths of the blocks that cover ``length`` pixels."""
    starts = torch.arange(0, length, block)
    return (length - starts).clamp_max(block).float()
