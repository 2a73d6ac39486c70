"""``nmi``: normalised mutual information with the sources (Hossny, Nahavandi and Creighton, 2008), and variants."""

from __future__ import annotations

from torch import Tensor

from fusekit.metrics.base import SourceMetric
from fusekit.metrics.levels import entropies


def normalized_mutual_information(source: Tensor, fused: Tensor) -> Tensor:
    """Return 2·I(S; F) / (H(S) + H(F)), in [0, 1]: two (B, 1, H, W) → (B,); 0 where both are constant."""
    h_source, h_fused, h_joint = entropies(source, fused)
    total = h_source + h_fused
    # Rounding may leave a negative 1e-16 where the images are independent.
    return (2 * (total - h_joint).clamp_min(0) / total).where(total > 0, 0)


def joint_normalized_information(source: Tensor, fused: Tensor) -> Tensor:
    """Return (H(S) + H(F)) / H(S, F), in [1, 2]: two (B, 1, H, W) → (B,); 1 where both are constant."""
    h_source, h_fused, h_joint = entropies(source, fused)
    return ((h_source + h_fused) / h_joint).where(h_joint > 0, 1).clamp_min(1)


class NormalizedMutualInformation(SourceMetric):
    """Normalised mutual information of the fused image with each source, summed over the sources.

    Each source contributes 1 at most, where it and the fused image determine each other, and 0 where either is
    constant. Stretching 8-bit images to 0-255 first, as published code does, changes nothing.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, rounded"
    combine = "sum"
    look_alikes = (
        "nmi.mean: the mean of the sources. nmi.joint: (H + H) / H(joint), in [1, 2]. The latter over 100 bins "
        "(EH-DRAN's authors): within some hundredths of it. Divided by √(H·H) or by max(H, H)."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return normalized_mutual_information(source, fused)


class MeanNormalizedMutualInformation(NormalizedMutualInformation):
    """``nmi`` as scikit-learn has it (arithmetic): the mean over the sources, in [0, 1], not their sum."""

    combine = "mean"
    look_alikes = "nmi: the sum of the sources. nmi.joint: (H + H) / H(joint), in [1, 2]."


class JointNormalizedInformation(SourceMetric):
    """Studholme's normalised mutual information, (H + H) / H(joint), the mean over the sources.

    1 where the images share nothing, or are constant; 2 where they determine each other.
    """

    range = (1.0, 2.0)
    data_range = "grey levels 0-255, rounded"
    combine = "mean"
    look_alikes = (
        "nmi and nmi.mean: in [0, 1]. Over 100 bins (EH-DRAN's authors; scikit-image's default): within some "
        "hundredths."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return joint_normalized_information(source, fused)
