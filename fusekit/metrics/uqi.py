"""``uqi``: universal image quality index (Wang and Bovik, 2002)."""

from __future__ import annotations

from torch import Tensor

from fusekit.metrics.base import SourceMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.windows import moments, uniform

_WINDOW = 8
# Variances in squared grey levels up to which a window counts as flat: rounding leaves 1e-11, one level in 64 0.015.
_FLAT = 1e-8


def universal_quality(source: Tensor, fused: Tensor) -> Tensor:
    """Return the mean of 4·σ_SF·μ_S·μ_F / ((σ_S² + σ_F²)(μ_S² + μ_F²)): two (B, 1, H, W) in [0, 1] → (B,).

    Over all 8×8 windows within the image, or the largest square ones where a side is below 8. Windows that are flat in
    both images are compared by 2·μ_S·μ_F / (μ_S² + μ_F²) alone, and have 1 where both are black.
    """
    x, y = precise(source)[:, 0] * 255, precise(fused)[:, 0] * 255
    weights = uniform(min(_WINDOW, *x.shape[1:]))
    mean_x, mean_y, variance_x, variance_y, covariance = moments(x, y, weights)
    product, power, variance = mean_x * mean_y, mean_x.square() + mean_y.square(), variance_x + variance_y
    flat, black = variance < _FLAT, power < _FLAT
    luminance = (2 * product / power.where(~black, 1)).where(~black, 1)
    structure = (2 * covariance / variance.where(~flat, 1)).where(~flat, 1)
    return (luminance * structure).mean((1, 2))


class UniversalQuality(SourceMetric):
    """Universal image quality index, the mean over the sources: SSIM without constants, in uniform 8×8 windows.

    Equal images have 1. A window that is flat in one image only has 0.
    """

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    combine = "mean"
    look_alikes = (
        "sewar and code derived from it take window means for window sums, which weakens the variances 64 times: far "
        "higher, near the luminance term alone. torchmetrics takes a Gaussian 11×11 window and has no rule for flat "
        "ones: values of −10⁷ on images with black regions."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return universal_quality(source, fused)
