"""What MRSCFusion is trained with: the fusion network as in the authors' code, the autoencoder as NestFuse is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import normalized_ms_ssim, steepness, structural_similarity

#: Weights of the structure of both sources together, of the features of each scale, and how far features are raised.
STRUCTURE, SCALES, RAISED = 1000.0, (1.0, 10.0, 100.0, 1000.0), 10.0
#: Weight of the gradient term, on grey levels of 255, at a λ₁ of 1; see `fusion_loss`.
GRADIENT = 50.0
#: What the measures of the sources are divided by, and what keeps the range of a flat image from being zero.
_TEMPERATURE, _LEAST_RANGE = 3000.0, 1e-5
#: λ of NestFuse, on grey levels of 255.
RECONSTRUCTED_STRUCTURE = 100.0
#: OpenCV's Laplacian of size 3.
_LAPLACIAN = ((2.0, 0.0, 2.0), (0.0, -8.0, 0.0), (2.0, 0.0, 2.0))


def fusion_loss(
    sources: Sequence[Tensor],
    fused: Tensor,
    features: Sequence[Sequence[Tensor]],
    fused_features: Sequence[Tensor],
    gradient_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of an image fused of two sources, (B, 1, H, W) in [0, 1] each, and its terms, in float32.

    With O the fused image stretched to [0, 1] over the batch, wᵢ the weights of `source_weights`, M the MS-SSIM of
    `fusekit.extend.normalized_ms_ssim` and G = |∂x| + |∂y| on grey levels of 255: 1000 · Σ wᵢ (1 − M(O, Iᵢ)) + Σ s ·
    mean |Φ − 10 · Σ wᵢ Φᵢ| over the scales, s = 1, 10, 100, 1000, + λ · mean |max(G(I₁), G(I₂)) − G(O)|. Terms are
    with their factors.

    Args:
        sources: two.
        fused: raw, in any range.
        features: of each source, four maps.
        fused_features: of the fusion network, four maps.
        gradient_weight: λ / 50.
    """
    with torch.autocast(fused.device.type, enabled=False):
        first, second, image = (each.float() for each in (*sources, fused))
        ours, theirs, found = ([each.float() for each in scales] for scales in (*features, fused_features))
        weights = source_weights(ours[0], theirs[0])
        image = stretched(image)
        structure = weights[0] * (1 - normalized_ms_ssim(image, first))
        structure = STRUCTURE * (structure + weights[1] * (1 - normalized_ms_ssim(image, second)))
        wanted = (RAISED * (weights[0] * one + weights[1] * two) for one, two in zip(ours, theirs, strict=True))
        pairs = zip(SCALES, found, wanted, strict=True)
        feature = torch.stack([scale * F.l1_loss(each, target) for scale, each, target in pairs]).sum()
        gradient = GRADIENT * gradient_weight * gradient_distance(image, first, second)
        total = structure + feature + gradient
    terms = {"structure": structure, "feature": feature, "gradient": gradient}
    return total, {name: value.detach() for name, value in terms.items()}


def stretched(x: Tensor) -> Tensor:
    """Return images brought to [0, 1] by the least and greatest value of all of them."""
    # PyTorch 2.4 has no derivative of aminmax.
    least, most = x.amin(), x.amax()
    return (x - least) / (most - least + _LEAST_RANGE / 255)


def gradient_distance(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return mean |max(G(I₁), G(I₂)) − G(F)| of images in [0, 1], on grey levels of 255."""
    return 255 * F.l1_loss(steepness(fused), torch.maximum(steepness(first), steepness(second)))


def source_weights(first: Tensor, second: Tensor) -> Tensor:
    """Return what each of two sources weighs, (2,), by the finest features (B, C, H, W) of images in [0, 255].

    The softmax of the mean squared Laplacian, divided by 3000.
    """
    return torch.softmax(torch.stack([sharpness(first), sharpness(second)]) / _TEMPERATURE, 0)


def sharpness(features: Tensor) -> Tensor:
    """Return the mean square of the Laplacian of each channel, the border mirrored."""
    channels = features.shape[1]
    kernel = torch.tensor(_LAPLACIAN, dtype=features.dtype, device=features.device).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect"), kernel, groups=channels).square().mean()


def reconstruction_loss(x: Tensor, reconstructed: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return NestFuse's loss of images (B, 1, H, W) in [0, 1], and its terms, in float32.

    The mean squared difference of grey levels of 255, and 100 · (1 − SSIM).
    """
    with torch.autocast(x.device.type, enabled=False):
        x, reconstructed = x.float(), reconstructed.float()
        pixel = F.mse_loss(reconstructed, x)
        structure = 1 - structural_similarity(reconstructed, x).whole
        total = 255**2 * pixel + RECONSTRUCTED_STRUCTURE * structure
    terms = {"pixel": pixel, "structure": structure, "psnr": -10 * torch.log10(pixel.clamp_min(1e-12))}
    return total, {name: value.detach() for name, value in terms.items()}
