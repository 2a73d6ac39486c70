"""SFNN of images in tiles: the nuclear norms of whole softmax maps, from passes over parts of them.

For φ = max (`GreatestNorms`) the result is that of the whole image. The first pass finds an upper bound of each
channel's norm; later ones collect the maps of the channels that can still win, a few at a time, and decompose them.

The other rules need the norms of all channels. Where a side is longer than 1024 pixels, or the maps would not fit the
memory, their norms are estimated from block means (`AllNorms`), and the rule reports it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import FixedWeights, Survey, Tile, in_parallel, normalized
from fusekit_ehdran.rules.nuclear import EXACT, nuclear_norm, report_of_greatest

#: Longest side of maps that are decomposed whole where all channels are needed.
EXACT_SIDE = 1024
#: The mean singular value of a large random square matrix, in units of √r times its entries' deviation.
_NOISE = 8 / (3 * math.pi)
#: How many leading singular values tighten a bound.
_LEADING = 32
#: How many columns of noise are beside the cosines, for maps that are not smooth.
_NOISY = 16
# A bound holds for exact numbers; rounding may lift a computed norm by a little.
_SLACK = 1 + 1e-5


class GreatestNorms(Survey):
    """The greatest nuclear norm of each source's softmax maps, exactly, and the weights of SFNN from them.

    The first pass finds an upper bound of each channel's norm, and collects the maps of the channels that win in the
    preview. With s₁ ≥ … ≥ s_k the singular values of AV, V being orthonormal, none of which is above A's own,

        ‖A‖_* ≤ Σ sᵢ + √((r − k)(‖A‖_F² − Σ sᵢ²))    as long as s_k² ≥ (‖A‖_F² − Σ sᵢ²) / (r − k).

    In the first pass V holds cosines of low frequency and noise, so that AV adds up over the tiles; the maps of the
    channels that win in the preview are collected. Where other channels can still win, a second pass finds QᵀA of all,
    Q being a basis of AV, which gives a closer bound. This and further passes collect, in the order of the bounds,
    those that can still win. A collected map is decomposed unless a Q from subspace iteration shows that it cannot.

    Args:
        count: N sources.
        shape: of the features of each, (B, C, H, W).
        memory: bytes for collected maps; one a source and image at least.
    """

    def __init__(self, count: int, shape: Sequence[int], memory: int) -> None:
        batch, channels, height, width = shape
        self._shape, self._rank = (count, batch, channels), min(height, width)
        self._squares = torch.zeros(count, batch, channels, dtype=torch.float64)
        self._start = _start(width)
        self._products = torch.zeros(count, batch, channels, height, self._start.shape[1])
        self._bases: Tensor | None = None
        self._inside: Tensor | None = None
        at_a_time = max(1, min(memory // (4 * height * width * count * batch), channels))
        self._searches = [_Search((height, width), at_a_time) for _ in range(count * batch)]
        self._first = True

    def preview(self, features: Sequence[Tensor]) -> None:
        shares = torch.cat([feature.float().softmax(dim=1) for feature in features])
        for search, maps in zip(self._searches, shares, strict=True):
            search.guess([float(norm) for norm in in_parallel(nuclear_norm, maps)])

    def add(self, features: Sequence[Tensor], tile: Tile) -> None:
        batch = self._shape[1]
        for source, feature in enumerate(features):
            shares = _shares(feature, tile)
            for search, maps in zip(self._searches[source * batch :], shares, strict=False):
                search.collect(maps, tile)
            if self._first:
                self._squares[source] += shares.square().sum((2, 3), dtype=torch.float64).cpu()
                product = shares @ self._start[tile.core[1]].to(shares.device)
                self._products[source, ..., tile.core[0], :] += product.cpu()
            elif self._bases is not None and self._inside is not None:
                rows = self._bases[source, ..., tile.core[0], :].transpose(-2, -1).to(shares.device)
                self._inside[source, ..., tile.core[1]] += (rows @ shares).cpu()

    def finish_pass(self) -> bool:
        if self._first:
            self._lower(self._products)
        elif self._inside is not None:
            self._lower(self._inside)
        in_parallel(_Search.decompose, self._searches)
        if not any(search.wanted for search in self._searches):
            return False
        if self._first:
            self._bases = torch.linalg.qr(self._products).Q
            self._inside = torch.zeros(*self._bases.shape[:3], self._bases.shape[-1], len(self._start))
            self._first, self._products = False, torch.empty(0)
        else:
            self._bases = self._inside = None
        return True

    def _lower(self, products: Tensor) -> None:
        """Lower the channels' bounds to what AV or QᵀA (N, B, C, …) of each allows."""
        leading = torch.stack(in_parallel(torch.linalg.svdvals, products.flatten(0, 2)))
        leading = leading.view(len(self._searches), self._shape[2], -1)
        found = _upper_bound(leading, self._squares.flatten(0, 1), self._rank).tolist()
        for search, bounds in zip(self._searches, found, strict=True):
            search.bounds = [min(pair) for pair in zip(bounds, search.bounds or bounds, strict=True)]

    def rule(self) -> FixedWeights:
        greatest = torch.tensor([search.best for search in self._searches]).view(self._shape[:2])
        decomposed = torch.tensor([search.decomposed for search in self._searches]).view(self._shape[:2])
        report = [report_of_greatest(image) for image in decomposed.T.tolist()]
        return FixedWeights(normalized(greatest.square())[..., None, None, None], report)


class _Search:
    """The search for the greatest norm among one image's channels.

    Args:
        size: height and width.
        at_a_time: how many maps may be collected in a pass.

    Attributes:
        bounds: upper bound of each channel's norm.
        wanted: channels that are collected in this pass; none when the search is over.
        best: greatest norm so far.
        decomposed: how many channels were decomposed.
    """

    def __init__(self, size: tuple[int, int], at_a_time: int) -> None:
        self._size, self._at_a_time = size, at_a_time
        self._maps: Tensor | None = None
        self._seen: set[int] = set()
        self.bounds: list[float] = []
        self.wanted: list[int] = []
        self.best, self.decomposed = 0.0, 0

    def guess(self, norms: Sequence[float]) -> None:
        """Want those channels in the first pass whose norms are greatest in the preview."""
        self.wanted = sorted(range(len(norms)), key=lambda channel: -norms[channel])[: self._at_a_time]

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
        if self._maps is not None:
            coarse = [self.bounds[channel] for channel in self.wanted]
            bounds = [min(_tightened(each), bound) for each, bound in zip(self._maps, coarse, strict=True)]
            for index in sorted(range(len(bounds)), key=lambda index: -bounds[index]):
                if bounds[index] * _SLACK >= self.best:
                    self.best = max(self.best, float(nuclear_norm(self._maps[index])))
                    self.decomposed += 1
        self._maps = None
        self._seen.update(self.wanted)
        order = sorted(range(len(self.bounds)), key=lambda channel: -self.bounds[channel])
        left = [each for each in order if each not in self._seen and self.bounds[each] * _SLACK >= self.best]
        self.wanted = left[: self._at_a_time]


class AllNorms(Survey):
    """The nuclear norms of all channels' maps: exact, or estimated from the means over blocks of f×f pixels.

    With P and Q the orthonormal indicators of blocks of rows and columns, M = PᵀAQ holds the block means times f. By
    the pinching inequality ‖A‖_* ≥ ‖M‖_* + ‖D‖_*, D being what A does outside these blocks' spaces in rows and columns.
    M is decomposed; D is taken for noise of the energy that the block means leave, spread evenly. Weights are shares,
    in which most of the error cancels.

    Args:
        activity: turns norms (N, B, C) into activities, whose shares are the weights.
        count: N sources.
        shape: of the features of each, (B, C, H, W).
        memory: bytes for the block means.
    """

    def __init__(self, activity: Callable[[Tensor], Tensor], count: int, shape: Sequence[int], memory: int) -> None:
        batch, channels, height, width = shape
        self._activity = activity
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
        norms = torch.tensor(in_parallel(self._norm, pairs)).view(count, batch, channels)
        side = self._block
        how = EXACT if side == 1 else f"estimated: of means over {side}×{side} pixels, what is left taken for noise"
        return FixedWeights(normalized(self._activity(norms))[..., None, None], [{"norms": how}] * batch)

    def _norm(self, of_map: tuple[Tensor, float]) -> float:
        """Return the norm of a map, of its sums over blocks (h, w) and its squared Frobenius norm."""
        sums, squares = of_map
        tall, wide = (_block_sides(length, self._block) for length in self._size)
        means = sums / (tall.sqrt()[:, None] * wide.sqrt())
        if self._block == 1:
            return float(nuclear_norm(means))
        rank = min(self._size)
        left = squares - float(means.square().sum(dtype=torch.float64))
        # So little is rounding.
        energy = left * (self._block - 1) / (self._block + 1) if left > 1e-6 * squares else 0.0
        return float(nuclear_norm(means)) + _NOISE * (energy * (rank - self._blocks(rank))) ** 0.5


def _shares(feature: Tensor, tile: Tile) -> Tensor:
    """Return the softmax over channels in the tile's core: (B, C, h, w), float32."""
    return tile.inner(feature).float().softmax(dim=1)


def _cosines(length: int, count: int) -> Tensor:
    """Return the ``count`` cosines of lowest frequency on ``length`` pixels, orthonormal: (length, count)."""
    places = torch.arange(length, dtype=torch.float64) + 0.5
    waves = torch.cos(places[:, None] * torch.arange(count) * (math.pi / length))
    return F.normalize(waves, dim=0).float()


def _start(length: int) -> Tensor:
    """Return orthonormal columns that much of a map shows in: smooth ones, and noise: (length, up to 48)."""
    smooth = _cosines(length, min(_LEADING, length))
    noise = torch.randn(length, min(_NOISY, length - smooth.shape[1]), generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(torch.cat([smooth, noise], 1).double()).Q.float()


def _upper_bound(leading: Tensor, squares: Tensor, rank: int) -> Tensor:
    """Return the least upper bound of nuclear norms that some of the leading singular values give.

    Args:
        leading: singular values of AV in descending order, (…, k).
        squares: squared Frobenius norms of A, (…), float64.
        rank: the shorter side of A.
    """
    # Rounding must not lift them above the matrix's own.
    leading = leading.double() * (1 - 1e-6)
    left = (squares[..., None] - leading.square().cumsum(-1)).clamp_min(0)
    others = rank - torch.arange(1, leading.shape[-1] + 1, device=leading.device)
    bounds = leading.cumsum(-1) + (others * left).sqrt()
    plain = (rank * squares).sqrt()
    valid = others * leading.square() >= left
    return torch.minimum(bounds.where(valid, plain[..., None]).amin(-1), plain)


def _tightened(matrix: Tensor) -> float:
    """Return an upper bound of the nuclear norm of (H, W), V being from two steps of subspace iteration."""
    rank = min(matrix.shape)
    start = torch.randn(matrix.shape[1], min(_LEADING, rank), generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(matrix @ start.to(matrix.device)).Q
    for _ in range(2):
        basis = torch.linalg.qr(matrix @ (matrix.T @ basis)).Q
    leading = torch.linalg.svdvals(basis.T @ matrix)
    return float(_upper_bound(leading, matrix.square().sum(dtype=torch.float64), rank))


def _block_sides(length: int, block: int) -> Tensor:
    """Return the lengths of the blocks that cover ``length`` pixels."""
    starts = torch.arange(0, length, block)
    return (length - starts).clamp_max(block).float()
