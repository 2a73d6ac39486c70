"""SFNN, fusion by the softmax feature nuclear norm (Zhou et al., BIBM 2024, Section II-C).

S = softmax over the channels of a source's features; n_k = ‖S_k‖_*, the nuclear norm (sum of the singular values) of
S's k-th H×W map. A source's share of the n_k is its weight.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.errors import RuleError
from fusekit.rules.base import WeightedRule, normalized


def nuclear_norms(features: Tensor) -> Tensor:
    """Return the nuclear norm of each channel of the softmax over channels: (B, C, H, W) → (B, C), float32."""
    with _one_thread():
        return torch.linalg.svdvals(_shares(features).movedim(-1, 1)).sum(-1)


def greatest_nuclear_norms(features: Tensor) -> tuple[Tensor, int]:
    """Return the greatest of the `nuclear_norms` of each image, and how many channels had to be decomposed for it.

    Channels are decomposed, each exactly, in the order of an upper bound of their norms, until the next one's bound is
    not above the best value so far: the channels left cannot win.

    Args:
        features: (B, C, H, W).

    Returns:
        (B,) float32, and the number of decompositions in the whole batch.
    """
    shares = _shares(features)
    bounds = _upper_bounds(shares)
    greatest, decomposed = [], 0
    with _one_thread():
        for image, bound in zip(shares, bounds, strict=True):
            best = image.new_zeros(())
            for channel in bound.argsort(descending=True).tolist():
                # The bound holds for exact numbers; rounding may lift a computed norm by a little.
                if bound[channel] * (1 + 1e-5) < best:
                    break
                best = torch.maximum(best, torch.linalg.svdvals(image[..., channel]).sum())
                decomposed += 1
            greatest.append(best)
    return torch.stack(greatest), decomposed


def _upper_bounds(shares: Tensor) -> Tensor:
    """Return upper bounds of the nuclear norms of (B, H, W, C): (B, C), float64.

    ‖A‖_* ≤ σ + √((r − 1)(‖A‖_F² − σ²)) with the shorter side r, for every σ from ‖A‖_F/√r to the greatest singular
    value; σ comes from two steps of power iteration, and where it is below that range the bound is √r·‖A‖_F.
    """
    rank = min(shares.shape[1:3])
    squares = shares.square().sum((1, 2), dtype=torch.float64)
    rows = F.normalize(shares.sum(2), dim=1)
    for _ in range(2):
        columns = F.normalize(torch.einsum("bhwc,bhc->bwc", shares, rows), dim=1)
        product = torch.einsum("bhwc,bwc->bhc", shares, columns)
        rows = F.normalize(product, dim=1)
    # Rounding must not lift σ above the greatest singular value.
    sigma = product.double().norm(dim=1) * (1 - 1e-6)
    sigma = sigma.clamp_min((squares / rank).sqrt())
    return sigma + ((rank - 1) * (squares - sigma.square()).clamp_min(0)).sqrt()


def _shares(features: Tensor) -> Tensor:
    """Return the softmax over channels with the channels last: (B, C, H, W) → (B, H, W, C), float32."""
    if features.dim() != 4:
        raise RuleError(
            f"the rules 'sfnn…' act on two-dimensional features (B, C, H, W), not on shape {tuple(features.shape)}"
        )
    return features.movedim(1, -1).float().softmax(dim=-1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep LAPACK to one thread: matrices of image size gain nothing from more, and its threads wait for each other so
    often that on a machine with a busy core the same decompositions take a hundred times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class SoftmaxNuclearNormRule(WeightedRule):
    """Base of the family: w_i = a_i / Σ_j a_j with an activity a_i from the nuclear norms of source i."""

    def activity(self, norms: Tensor) -> Tensor:
        """Turn nuclear norms (N, B, C) into activities (N, B, C) or (N, B, 1)."""
        raise NotImplementedError(f"{type(self).__name__} must define activity(norms)")

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        norms = torch.stack([nuclear_norms(feature) for feature in features])
        return normalized(self.activity(norms))[..., None, None]


class SFNN(WeightedRule):
    """The authors' code: φ = max, squared; w_i = max_k(n_k^i)² / Σ_j max_k(n_k^j)²."""

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        greatest = torch.stack([greatest_nuclear_norms(feature)[0] for feature in features])
        return normalized(greatest.square())[..., None, None, None]


class SFNNMean(SoftmaxNuclearNormRule):
    """φ = mean: the mean over the channels, not squared."""

    def activity(self, norms: Tensor) -> Tensor:
        return norms.mean(-1, keepdim=True)


class SFNNSum(SoftmaxNuclearNormRule):
    """φ = sum: the sum over the channels, not squared.

    As every source has as many channels, normalisation makes its weights equal those of `SFNNMean`; both names
    exist because the paper lists both.
    """

    def activity(self, norms: Tensor) -> Tensor:
        return norms.sum(-1, keepdim=True)


class SFNNChannel(SoftmaxNuclearNormRule):
    """The printed formula read channel by channel: w_{i,k} = n_k^i / Σ_j n_k^j."""

    def activity(self, norms: Tensor) -> Tensor:
        return norms
