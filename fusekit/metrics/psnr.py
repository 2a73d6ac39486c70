"""``psnr``: peak signal-to-noise ratio (as in Jagalingam and Hegde, 2015)."""

from __future__ import annotations

import math

from torch import Tensor

from fusekit.metrics.base import SourceMetric, precise


def peak_signal_noise_ratio(source: Tensor, fused: Tensor) -> Tensor:
    """Return 10·log₁₀(1 / MSE) in dB for images in [0, 1]: two (B, 1, H, W) → (B,); infinite where they are equal."""
    error = (precise(source) - precise(fused)).square().mean((1, 2, 3))
    return 10 * error.reciprocal().log10()


class PSNR(SourceMetric):
    """Peak signal-to-noise ratio in dB, the mean over the sources of their dB values.

    A source that equals the fused image has an infinite value, and so has the mean.
    """

    name = "psnr"
    direction = "higher"
    range = (0.0, math.inf)
    data_range = "[0, 1], peak 1"
    combine = "mean"
    reference = "Jagalingam, Hegde: A Review of Quality Metrics for Fused Image. Aquatic Procedia 4, 2015"
    look_alikes = (
        "One PSNR of the mean of the sources' MSEs: at most this value. VIFB takes √SSE / (H·W) for the MSE, which "
        "gives about 57 dB for 18. Peak 255 with an MSE on [0, 1] adds 48.13 dB; peak = the fused image's maximum."
    )

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return peak_signal_noise_ratio(source, fused)
