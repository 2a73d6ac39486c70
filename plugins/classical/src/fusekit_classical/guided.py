"""The model ``guided-filter`` (Li, Kang and Hu, 2013)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import Joint, OptionError, Reach, gaussian, normalized, windowed
from fusekit_classical import plugin

#: Side of the averaging filter that parts base and detail.
_BASE_SIDE = 31
#: Side and standard deviation of the Gaussian that gathers saliency.
_SALIENCY_SIDE, _SALIENCY_SIGMA = 11, 5.0
_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Return the means of (B, 1, H, W) over squares of 2·radius + 1 pixels, at the border over what is there."""
    for kernel, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        x = F.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)
    return x


def guided_filter(guide: Tensor, x: Tensor, radius: int, epsilon: float) -> Tensor:
    """Filter x (B, 1, H, W) so that its edges follow those of a guide (He, Sun and Tang, TPAMI 2013).

    Args:
        guide: (B, 1, H, W) in [0, 1].
        x: of the same shape.
        radius: of the square windows.
        epsilon: variance of the guide above which an edge is kept.
    """
    mean_guide, mean_x = box_mean(guide, radius), box_mean(x, radius)
    variance = box_mean(guide * guide, radius) - mean_guide**2
    covariance = box_mean(guide * x, radius) - mean_guide * mean_x
    slope = covariance / (variance.clamp_min(0) + epsilon)
    return box_mean(slope, radius) * guide + box_mean(mean_x - slope * mean_guide, radius)


def saliency(x: Tensor) -> Tensor:
    """Return the magnitude of the Laplacian of (B, 1, H, W), gathered by a Gaussian."""
    kernel = torch.tensor(_LAPLACIAN, dtype=x.dtype, device=x.device)[None, None]
    steep = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel).abs()
    return windowed(steep, gaussian(_SALIENCY_SIDE, _SALIENCY_SIGMA), "replicate")


class GuidedFilter(Joint):
    """Base and detail of the sources, each weighted by the most salient source, whose edges the weights follow.

    Computed in float64, as the detail's weights divide by variances near rounding.

    Args:
        base_radius, base_epsilon: of the guided filter of the base's weights.
        detail_radius, detail_epsilon: of that of the detail's weights.

    Raises:
        OptionError: a radius is less than 1, or an epsilon not positive.
    """

    spec = plugin.GUIDED

    def __init__(
        self,
        base_radius: int = 45,
        base_epsilon: float = 0.3,
        detail_radius: int = 7,
        detail_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        if min(base_radius, detail_radius) < 1 or min(base_epsilon, detail_epsilon) <= 0:
            raise OptionError("a guided filter needs radii of 1 or more and epsilons above 0")
        self.base, self.detail = (base_radius, base_epsilon), (detail_radius, detail_epsilon)

    @property
    def reach(self) -> Reach:
        # The guided filter averages twice what the saliency's filters have seen.
        return Reach(
            max(2 * max(self.base[0], self.detail[0]) + 1 + _SALIENCY_SIDE // 2, _BASE_SIDE // 2), 0, working=40.0
        )

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        images = [source.double() for source in sources]
        bases = [box_mean(image, _BASE_SIDE // 2) for image in images]
        salient = torch.stack([saliency(image) for image in images])
        # Where several are most salient, as in the background, they share the weight.
        most = (salient == salient.amax(0)).double()
        most = most / most.sum(0)
        fused = torch.zeros_like(images[0])
        details = [image - base for image, base in zip(images, bases, strict=True)]
        for layers, (radius, epsilon) in ((bases, self.base), (details, self.detail)):
            weights = [guided_filter(image, each, radius, epsilon) for image, each in zip(images, most, strict=True)]
            fused = fused + (normalized(torch.stack(weights).clamp_min(0)) * torch.stack(layers)).sum(0)
        return fused.to(sources[0].dtype)
