"""SFNN, fusion by the softmax feature nuclear norm (Zhou et al., BIBM 2024, Section II-C).

S = softmax over the channels of a source's features; n_k = ‖S_k‖_*, the nuclear norm (sum of the singular values) of
S's k-th H×W map. A source's share of the n_k is its weight.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fusekit.errors import RuleError
from fusekit.rules.base import WeightedRule, normalized


def nuclear_norms(features: Tensor) -> Tensor:
    """Return the nuclear norm of each channel of the softmax over channels: (B, C, H, W) → (B, C), float32."""
    if features.dim() != 4:
        raise RuleError(
            f"the rules 'sfnn…' act on two-dimensional features (B, C, H, W), not on shape {tuple(features.shape)}"
        )
    with _one_thread():
        return torch.linalg.svdvals(features.float().softmax(dim=1)).sum(-1)


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


class SFNN(SoftmaxNuclearNormRule):
    """The authors' code: φ = max, squared; w_i = max_k(n_k^i)² / Σ_j max_k(n_k^j)²."""

    def activity(self, norms: Tensor) -> Tensor:
        return norms.amax(-1, keepdim=True).square()


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
