"""Nuclear norms of softmax maps: exactly, by the cheapest way that the size and the device offer.

S = softmax over the channels of a source's features; n_k = ‖S_k‖_* is the sum of the singular values of S's k-th map.

- Norms are the square roots of the eigenvalues of the smaller Gram matrix, summed, in float64: on a CPU that is faster
  than singular values in float32, and closer. (In float32 the Gram matrix would square the condition number away.)
- The greatest norm of an image needs few of them. One pass over the features gives, for each channel, ‖A‖_F and the
  sums of its rows and columns. u = A·1/‖A·1‖ and v = 1/√W give uᵀAv = ‖A·1‖/√W ≤ σ₁, likewise for the columns; for
  positive maps that is close to σ₁. With the shorter side r and any σ with ‖A‖_F/√r ≤ σ ≤ σ₁

      ‖A‖_* ≤ σ + √((r − 1)(‖A‖_F² − σ²)),

  since the other r − 1 singular values have at most the squares left, by Cauchy and Schwarz, and the right side falls
  as σ grows. Channels whose bound is below a norm already known cannot win. For those left a subspace Q of q columns
  tightens the bound: ‖A‖_* ≤ ‖QᵀA‖_* + √((r − q)(‖A‖_F² − ‖QᵀA‖_F²)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from fusekit.extend import RuleError, in_parallel

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: Pixels whose softmax is computed at a time on a CPU: 64 channels of them are 2 MiB.
_PIXELS = 8192
#: Bytes of maps that are held at a time, of each image.
_MAP_BYTES = 1 << 28
#: Bytes of an image's softmax up to which it is kept from the first pass, instead of computed again where needed.
_KEPT_BYTES = 1 << 25
#: Bounds hold for exact numbers; rounding may lift a computed norm by this share.
ROUNDING = 1e-5
#: What a report says of norms that are exact but for rounding.
EXACT = "exact"


class Statistics(NamedTuple):
    """What one pass over the softmax maps of an image yields, all float64.

    Attributes:
        squares: (C,), the sum of the squares of each map.
        rows: (C, H), the sums of its rows.
        columns: (C, W), the sums of its columns.
    """

    squares: Tensor
    rows: Tensor
    columns: Tensor

    def bounds(self) -> Tensor:
        """Return an upper bound of each map's nuclear norm, (C,)."""
        return upper_bounds(self.squares, self.rows, self.columns)


def upper_bounds(squares: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return upper bounds of nuclear norms (…), float64.

    Args:
        squares: (…) float64, the sum of the squares of each map.
        rows, columns: (…, H) and (…, W), the sums of its rows and columns.
    """
    height, width = rows.shape[-1], columns.shape[-1]
    rank = min(height, width)
    of_rows, of_columns = rows.double().norm(dim=-1) / width**0.5, columns.double().norm(dim=-1) / height**0.5
    # The bound holds for smaller σ too, as long as they are not below ‖A‖_F/√r.
    sigma = torch.maximum(of_rows, of_columns) * (1 - ROUNDING)
    sigma = torch.maximum(sigma, (squares / rank).sqrt())
    return sigma + _rest(squares - sigma.square(), rank - 1)


class Greatest(NamedTuple):
    """The greatest nuclear norm of an image.

    Attributes:
        norm: a scalar, float32.
        decomposed: how many maps had to be decomposed for it.
    """

    norm: Tensor
    decomposed: int


def report_of_greatest(decomposed: Iterable[int], how: str = EXACT) -> dict[str, Any]:
    """Return what the record says of one image: how the norms were found, how many maps of each source for them."""
    return {"norms": how, "decomposed_channels": [[count] for count in decomposed]}


def nuclear_norms(features: Sequence[Tensor]) -> Tensor:
    """Return the nuclear norms of the softmax over channels of N tensors (B, C, H, W): (N, B, C), float32.

    Raises:
        RuleError: the features are not two-dimensional.
    """
    found = [_norms(image) for image in _images(features)]
    return torch.stack(found).view(len(features), len(features[0]), -1)


def greatest_nuclear_norms(features: Sequence[Tensor]) -> list[list[Greatest]]:
    """Return the greatest of the `nuclear_norms` of each image of N tensors (B, C, H, W): N lists of B.

    Raises:
        RuleError: the features are not two-dimensional.
    """
    images = _images(features)
    if len(images) >= torch.get_num_threads():
        # An image a core from beginning to end: nobody waits in between.
        found = _spread(images[0].device, lambda image: _greatest(image, softmax_statistics([image])[0]), images)
    else:
        pairs = zip(images, softmax_statistics(images), strict=True)
        found = _spread(images[0].device, lambda pair: _greatest(*pair), pairs)
    batch = len(features[0])
    return [found[first : first + batch] for first in range(0, len(found), batch)]


class SoftmaxMaps:
    """The softmax over the channels of an image of features.

    Args:
        image: (H, W, C).
    """

    def __init__(self, image: Tensor) -> None:
        self.image, self.device = image, image.device
        self.height, self.width, self.channels = image.shape
        rows = max(_PIXELS // self.width, 1) if self.device.type == "cpu" else self.height
        self.strips = [slice(first, first + rows) for first in range(0, self.height, rows)]
        self._keep = 4 * image.numel() <= _KEPT_BYTES
        self._kept: dict[int, Tensor] = {}

    def strip(self, index: int) -> Tensor:
        """Return the softmax (h, W, C) of the rows of a strip, float32."""
        found = self._kept.get(index)
        if found is None:
            # The channels of a pixel are made to lie together.
            found = torch.softmax(self.image[self.strips[index]].contiguous(), dim=-1, dtype=torch.float32)
            if self._keep:
                self._kept[index] = found
        return found

    def maps(self, channels: Sequence[int]) -> Tensor:
        """Return some channels as maps (len(channels), H, W)."""
        maps = torch.empty((len(channels), self.height, self.width), device=self.device)

        def fill(index: int) -> None:
            softmax = self.strip(index)
            for each, channel in zip(maps, channels, strict=True):
                each[self.strips[index]] = softmax[..., channel]

        _spread(self.device, fill, range(len(self.strips)))
        return maps

    def maps_at_once(self) -> int:
        """Return how many maps may be held at a time."""
        return max(_MAP_BYTES // (4 * self.height * self.width), 1)


def softmax_statistics(images: Sequence[SoftmaxMaps]) -> list[Statistics]:
    """Return the `Statistics` of images, each of which is gone through once."""
    pieces = [(image, index) for image in images for index in range(len(image.strips))]

    def sums(piece: tuple[SoftmaxMaps, int]) -> tuple[Tensor, Tensor, Tensor]:
        softmax = piece[0].strip(piece[1])
        return softmax.square().sum((0, 1)), softmax.sum(1), softmax.sum(0)

    parts = iter(_spread(images[0].device, sums, pieces))
    found = []
    for image in images:
        squares, rows, columns = zip(*(next(parts) for _ in image.strips), strict=True)
        found.append(
            Statistics(
                torch.stack(squares).double().sum(0),
                torch.cat(rows).double().T,
                torch.stack(columns).double().sum(0).T,
            )
        )
    return found


def nuclear_norm(matrix: Tensor) -> Tensor:
    """Return the nuclear norm of a matrix (H, W), in float64."""
    exact = _merged(_merged(matrix.double()).T)
    gram = exact @ exact.T if len(exact) <= exact.shape[1] else exact.T @ exact
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().sum()


def _merged(matrix: Tensor) -> Tensor:
    """Return a matrix of the same singular values that has one row √k·a where ``matrix`` has k equal rows a in a run.

    Background makes such runs. (AᵀA, which has the squares of the singular values, is the same for both.)
    """
    begins = torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    torch.any(matrix[1:] != matrix[:-1], dim=1, out=begins[1:])
    places = begins.nonzero().flatten()
    lengths = torch.diff(places, append=places.new_tensor([len(matrix)]))
    return matrix[places] * lengths.sqrt()[:, None]


def _norms(maps: SoftmaxMaps) -> Tensor:
    """Return the nuclear norms (C,) of an image's maps."""
    at_once, norms = maps.maps_at_once(), []
    for first in range(0, maps.channels, at_once):
        group = maps.maps(range(first, min(first + at_once, maps.channels)))
        norms += _spread(maps.device, nuclear_norm, list(group))
    return torch.stack(norms).float()


def _greatest(maps: SoftmaxMaps, statistics: Statistics) -> Greatest:
    """Search an image for its greatest nuclear norm."""
    bounds = statistics.bounds()
    order = bounds.argsort(descending=True).tolist()
    best, decomposed, at_once = bounds.new_zeros(()), 0, min(maps.maps_at_once(), 4)
    for first in range(0, len(order), at_once):
        group = [channel for channel in order[first : first + at_once] if may_win(bounds[channel], best)]
        if not group:
            break
        matrices = maps.maps(group)
        least, most = _tightened(matrices, statistics.squares[group], bounds[group])
        floor = torch.maximum(best, least.max())
        for index in most.argsort(descending=True).tolist():
            if not may_win(most[index], torch.maximum(best, floor)):
                break
            best, decomposed = torch.maximum(best, nuclear_norm(matrices[index])), decomposed + 1
    return Greatest(best.float(), decomposed)


def may_win(bounds: Tensor, best: Tensor) -> Tensor:
    """Return where norms with these upper bounds may be above the best one so far."""
    return bounds * (1 + ROUNDING) >= best


def _tightened(matrices: Tensor, squares: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Return lower and tighter upper bounds of nuclear norms, (K,) each.

    Args:
        matrices: (K, H, W).
        squares: (K,), the sums of their squares.
        bounds: (K,), upper bounds of their nuclear norms.
    """
    # On the shorter side, a subspace of q columns leaves r − q singular values whatever it is.
    matrices = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    rank = matrices.shape[1]
    columns = rank // 8
    if columns == 0:
        return torch.zeros_like(bounds), bounds
    # Cosines of few periods: maps of images are smooth before all else.
    steps = (torch.arange(rank, device=matrices.device) + 0.5) * (torch.pi / rank)
    waves = torch.cos(steps[:, None] * torch.arange(columns, device=matrices.device))
    subspace = torch.linalg.qr(matrices @ (matrices.mT @ waves)).Q
    inside = (subspace.mT @ matrices).double()
    found = torch.linalg.eigvalsh(inside @ inside.mT).clamp_min(0)
    norms = found.sqrt().sum(-1)
    outside = squares * (1 + ROUNDING) - found.sum(-1)
    return norms * (1 - ROUNDING), torch.minimum(bounds, norms + _rest(outside, rank - columns))


def _rest(squares: Tensor, count: int) -> Tensor:
    """Return the greatest sum that ``count`` singular values with this sum of squares can have."""
    return (squares.clamp_min(0) * count).sqrt()


def _images(features: Sequence[Tensor]) -> list[SoftmaxMaps]:
    """Return the softmax of the images of N tensors (B, C, H, W), N·B of them.

    Raises:
        RuleError: the features are not two-dimensional.
    """
    for each in features:
        if each.dim() != 4:
            raise RuleError(
                f"the rules 'sfnn…' act on two-dimensional features (B, C, H, W), not on shape {tuple(each.shape)}"
            )
    return [SoftmaxMaps(image.movedim(0, 2)) for each in features for image in each]


def _spread(device: torch.device, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Call ``function`` on each item; on a CPU side by side."""
    return in_parallel(function, items) if device.type == "cpu" else [function(item) for item in items]
