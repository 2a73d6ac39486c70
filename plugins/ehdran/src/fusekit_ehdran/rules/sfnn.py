"""SFNN, fusion by the softmax feature nuclear norm (Zhou et al., BIBM 2024, Section II-C).

S = softmax over the channels of a source's features; n_k = ‖S_k‖_*, the nuclear norm (sum of the singular values) of
S's k-th H×W map. A source's share of the n_k is its weight. `fusekit_ehdran.rules.nuclear` computes the norms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusekit.extend import Survey, Weighing, WeightedRule, normalized
from fusekit_ehdran.rules.nuclear import EXACT, Greatest, greatest_nuclear_norms, nuclear_norms, report_of_greatest


class SoftmaxNuclearNormRule(WeightedRule):
    """Base of the family: w_i = a_i / Σ_j a_j with an activity a_i from the nuclear norms of source i."""

    working = 2.5

    def activity(self, norms: Tensor) -> Tensor:
        """Turn nuclear norms (N, B, C) into activities (N, B, C) or (N, B, 1)."""
        raise NotImplementedError(f"{type(self).__name__} must define activity(norms)")

    def weigh(self, features: Sequence[Tensor]) -> Weighing:
        return self.weighing_of(nuclear_norms(features))

    def weighing_of(self, norms: Tensor, how: str = EXACT) -> Weighing:
        """Return the weights for nuclear norms (N, B, C), with a report of ``how`` these were computed."""
        weights = normalized(self.activity(norms))[..., None, None]
        return Weighing(weights, [{"norms": how}] * norms.shape[1])

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        from fusekit_ehdran.rules.sfnn_surveys import AllNorms

        return AllNorms(self.activity, count, shape, memory) if len(shape) == 4 else None


class SFNN(WeightedRule):
    """The authors' code: φ = max, squared; w_i = max_k(n_k^i)² / Σ_j max_k(n_k^j)²."""

    working = 2.5

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        from fusekit_ehdran.rules.sfnn_surveys import GreatestNorms

        return GreatestNorms(count, shape, memory) if len(shape) == 4 else None

    def weigh(self, features: Sequence[Tensor]) -> Weighing:
        return self.weighing_of(greatest_nuclear_norms(features))

    def weighing_of(self, greatest: Sequence[Sequence[Greatest]], how: str = EXACT) -> Weighing:
        """Return the weights for each source's greatest norms, an image each; report ``how`` these were computed.

        The report of an image also says how many channels were decomposed for each source.
        """
        norms = torch.stack([torch.stack([each.norm for each in source]) for source in greatest])
        weights = normalized(norms.square())[..., None, None, None]
        images = zip(*([each.decomposed for each in source] for source in greatest), strict=True)
        return Weighing(weights, [report_of_greatest(image, how) for image in images])


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
