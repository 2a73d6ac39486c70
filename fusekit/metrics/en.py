"""``en``: Shannon entropy of the fused image (Roberts et al., 2008)."""

from __future__ import annotations

from torch import Tensor

from fusekit.metrics.base import FusedMetric, entropy_of_counts, gray_levels, histogram


def entropy(fused: Tensor) -> Tensor:
    """Return the entropy in bits of the 256 grey levels of images in [0, 1]: (B, 1, H, W) → (B,)."""
    return entropy_of_counts(histogram(gray_levels(fused), 256))


class Entropy(FusedMetric):
    """Shannon entropy of the 256-bin histogram, in bits. A constant image has 0.

    Values between two grey levels are rounded to the nearest.
    """

    name = "en"
    direction = "higher"
    range = (0.0, 8.0)
    data_range = "grey levels 0-255, rounded"
    reference = (
        "Roberts, van Aardt, Ahmed: Assessment of image fusion procedures using entropy, image quality, and "
        "multispectral classification. Journal of Applied Remote Sensing 2, 2008"
    )
    look_alikes = (
        "Over the distinct float values instead of 256 bins (scikit-image's shannon_entropy of a float image): may "
        "exceed 8 bits. In nats: ln 2 times this value."
    )

    def measure(self, fused: Tensor) -> Tensor:
        return entropy(fused)
