"""``psnr``: peak signal-to-noise ratio (as in Jagalingam and Hegde, 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric, TogetherMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.mse import mean_squared_error, mean_squared_errors, squared_errors


def peak_signal_noise_ratio(source: Tensor, fused: Tensor) -> Tensor:
    """Return 10·log₁₀(1 / MSE) in dB for images in [0, 1]: two (B, 1, H, W) → (B,); infinite where they are equal."""
    return 10 * mean_squared_error(source, fused).reciprocal().log10()


class PSNR(TogetherMetric):
    """Peak signal-to-noise ratio in dB, the mean over the sources of their dB values.

    A source that equals the fused image has an infinite value, and so has the mean.
    """

    range = (0.0, math.inf)
    data_range = "[0, 1], peak 1"
    combine = "mean"
    look_alikes = (
        "One PSNR of the mean of the sources' MSEs: at most this value. psnr.vifb takes √SSE / (H·W) for the MSE: "
        "about 57 dB for 18. psnr.cddfuse: the peak is the fused image's maximum. Peak 255 with an MSE on [0, 1] adds "
        "48.13 dB."
    )

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return 10 * mean_squared_errors(sources, fused).reciprocal().log10()


class VifbPSNR(SharedWorkMetric):
    """PSNR as VIFB computes it: peak 255 over the mean of the sources' √SSE / (H·W), taken for their MSE.

    Its values grow with the image's size and compare with VIFB's tables only. Infinite where all images are equal.
    """

    range = (0.0, math.inf)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "psnr: of the mean squared error."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        error = 255 * squared_errors(sources, fused).sqrt() / fused[0].numel()
        return 10 * (255**2 / error.mean(0)).log10(), 10 * (255**2 / error).log10()


class CddfusePSNR(SharedWorkMetric):
    """PSNR as CDDFuse computes it: the fused image's maximum as the peak, over the mean of the sources' MSEs.

    Infinite where all images are equal, and minus infinity where the fused image is black and a source is not.
    """

    range = (-math.inf, math.inf)
    data_range = "any; the scale cancels"
    look_alikes = "psnr: the peak is 1, and the dB values of the sources are averaged."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        peak = precise(fused.flatten(1).amax(1)).square()
        errors = mean_squared_errors(sources, fused)
        together, alone = (10 * (peak / each).where(each > 0, math.inf).log10() for each in (errors.mean(0), errors))
        return together, alone
