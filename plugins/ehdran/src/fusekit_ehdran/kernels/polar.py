"""Nuclear norms of many matrices by matrix products alone: tr(UᵀA), U being the polar factor of A.

A's polar factor has A's singular vectors and singular values 1. An odd polynomial p of a matrix acts on its singular
values: p(X) = aX + bX(XᵀX) + cX(XᵀX)². Newton–Schulz iterations apply such polynomials until every value is 1. Here
each step takes the polynomial of degree 5 that is the best on the interval where the values are known to lie (as in
Amsel, Persson, Musco and Gower: The polar express, 2025), which lifts small values up to eight times a step where the
classic polynomial lifts them 1.9 times. The number of steps follows from the tolerance and the shorter side alone, so
that a run needs no answer from the device and can be captured in a CUDA graph.

The products are those of torch, in float32 proper: no kernel of one's own multiplies square matrices faster than the
vendor's library. The singular values of torch are the reference of the tests.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from fusekit.extend import OptionError, RuleError, exact_float32

#: Coefficients a, b and c of x, x³ and x⁵.
Polynomial = tuple[float, float, float]

#: Newton and Schulz's own of degree 5, best where all values are near 1.
_CLASSIC: Polynomial = (15 / 8, -10 / 8, 3 / 8)

#: Polynomials that are the best down to far smaller values push some great ones down to these, where float32 has too
#: few digits for the difference; so they are made for no more than this share of the interval.
_CUSHION = 0.05

#: Beyond their interval the polynomials grow steeply, and a value that rounding lifts above its end would soon be out
#: of hand; so they are made for an interval longer by this share.
_MARGIN = 1e-3


def nuclear_norms(matrices: Tensor, tolerance: float = 1e-5, verify: bool = False) -> Tensor:
    """Return the nuclear norm of each matrix: (M, m, n) → (M,), float32.

    Args:
        matrices: any floating dtype; computed in float32. Rank-deficient and zero matrices may be among them.
        tolerance: relative, for exact arithmetic: singular values that the steps leave short of 1 add up to less.
            Rounding adds about 1e-6.
        verify: go on with classic steps, at most 8, until the norms change by less than a tenth of ``tolerance``.
            It asks the device for an answer, and so cannot be captured in a CUDA graph.

    Raises:
        RuleError: the tensor has not three dimensions.
        OptionError: ``tolerance`` is not between 1e-7 and 0.1.
    """
    if matrices.dim() != 3:
        raise RuleError(f"nuclear norms are of matrices (M, m, n), not of shape {tuple(matrices.shape)}")
    if not 1e-7 <= tolerance <= 0.1:
        raise OptionError(f"the tolerance of nuclear norms must be between 1e-7 and 0.1, not {tolerance}")
    matrices = _wide(matrices.float())
    if matrices.numel() == 0:
        return matrices.sum((1, 2))
    factors = polar_factors(matrices, tolerance / matrices.shape[1])
    with exact_float32():
        return _finish(factors, matrices, tolerance) if verify else _inner(factors, matrices)


def polar_factors(matrices: Tensor, smallest: float) -> Tensor:
    """Return matrices (M, m, n), float32, with their singular vectors kept and singular values brought to 1.

    Args:
        matrices: float32, not empty.
        smallest: as a share of each matrix's greatest value, the smallest value that comes out at 1, but for rounding;
            those below come out between 0 and 1.
    """
    with exact_float32():
        factors = _scaled(_wide(matrices))
        for polynomial in schedule(smallest):
            factors = _apply(polynomial, factors)
    return factors if factors.shape == matrices.shape else factors.mT


def _wide(matrices: Tensor) -> Tensor:
    """Return matrices (M, m, n), or their transposes where m > n."""
    return matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT


def _finish(factors: Tensor, matrices: Tensor, tolerance: float) -> Tensor:
    """Return tr(UᵀA) (M,) after as many classic steps on U as it takes until it stays."""
    norms = _inner(factors, matrices)
    for _ in range(8):
        factors = _apply(_CLASSIC, factors)
        before, norms = norms, _inner(factors, matrices)
        if not ((norms - before).abs() > 0.1 * tolerance * norms).any():
            break
    return norms


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Return Σ left·right of each matrix: (M,). Summed row by row first, which loses less to rounding."""
    return (left * right).sum(-1).sum(-1)


def _scaled(matrices: Tensor) -> Tensor:
    """Return each matrix divided by an upper bound of its greatest singular value; zero matrices stay zero."""
    # By the greatest entry first, so that no square underflows or overflows.
    matrices = matrices / matrices.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    size = matrices.abs()
    rows, columns = size.sum(2).amax(1), size.sum(1).amax(1)
    # ‖A‖₂ ≤ ‖A‖_F and ‖A‖₂² ≤ ‖A‖₁·‖A‖_∞; rounding must not lift a singular value above the bound.
    bound = torch.minimum(torch.linalg.matrix_norm(matrices), (rows * columns).sqrt()) * (1 + 1e-5)
    return matrices / torch.where(bound > 0, bound, 1)[:, None, None]


def _apply(polynomial: Polynomial, x: Tensor) -> Tensor:
    """Return aX + b(XXᵀ)X + c(XXᵀ)²X for X (M, m, n) with m ≤ n."""
    a, b, c = polynomial
    gram = torch.bmm(x, x.mT)
    return torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)


def operations(height: int, width: int, tolerance: float = 1e-5) -> int:
    """Return what the products of one matrix's norm take, two operations a multiply-add."""
    shorter, longer = sorted((height, width))
    return len(schedule(tolerance / shorter)) * 2 * shorter**2 * (2 * longer + shorter)


@functools.lru_cache(maxsize=64)
def schedule(smallest: float) -> tuple[Polynomial, ...]:
    """Return the polynomials that bring every value of [smallest, 1] to within 1e-7 of 1, one after the other.

    Args:
        smallest: above 0 and at most 1. Values below it come out between 0 and 1.
    """
    low, high = smallest, 1.0
    steps: list[Polynomial] = []
    while high - low > 2e-7:
        if 1 - low < 1e-2:
            polynomial = _CLASSIC
        else:
            high *= 1 + _MARGIN
            polynomial = _best_on(max(low, _CUSHION * high), high)
        steps.append(polynomial)
        low, high = _image(polynomial, low, high)
    return tuple(steps)


def _image(polynomial: Polynomial, low: float, high: float) -> tuple[float, float]:
    """Return the least and the greatest value of a polynomial on an interval."""
    points = [low, high, *(each for each in _extrema(polynomial) if low < each < high)]
    values = [_value(polynomial, each) for each in points]
    return min(values), max(values)


def _value(polynomial: Polynomial, x: float) -> float:
    a, b, c = polynomial
    return x * (a + x * x * (b + x * x * c))


def _extrema(polynomial: Polynomial) -> list[float]:
    """Return the two positive numbers where a + 3bx² + 5cx⁴ is 0."""
    a, b, c = polynomial
    root = math.sqrt(max(9 * b * b - 20 * a * c, 0.0))
    return [math.sqrt(max((-3 * b + sign * root) / (10 * c), 0.0)) for sign in (-1, 1)]


def _best_on(low: float, high: float) -> Polynomial:
    """Return the odd polynomial of degree 5 whose greatest distance from 1 on [low, high] is least (Remez)."""
    inner = [(3 * low + high) / 4, (low + 3 * high) / 4]
    polynomial = _CLASSIC
    for _ in range(50):
        points = torch.tensor([low, *inner, high], dtype=torch.float64)
        signs = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
        system = torch.stack([points, points**3, points**5, signs], dim=1)
        a, b, c, _error = torch.linalg.solve(system, torch.ones(4, dtype=torch.float64)).tolist()
        before, polynomial = polynomial, (a, b, c)
        inner = _extrema(polynomial)
        if max(abs(new - old) for new, old in zip(polynomial, before, strict=True)) < 1e-12 * a:
            break
    return polynomial
