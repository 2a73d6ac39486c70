"""What training minimises: pixel, gradient and perceptual terms (Zhou et al., BIBM 2024, Section II-D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.edges.gradient import Sobel

#: Scalars by name, without gradients, for the log.
Terms: TypeAlias = dict[str, Tensor]


def pixel_loss(x: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean of (x − x̂)²."""
    return F.mse_loss(reconstructed, x)


def gradient_loss(x: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean squared difference of |∂x| plus that of |∂y|, Sobel filters, as the authors' code computes ‖∇x − ∇x̂‖²."""
    kernel = torch.tensor(Sobel.kernel, dtype=x.dtype, device=x.device)
    filters = torch.stack([kernel, kernel.T])[:, None]
    of_x, of_reconstructed = (F.conv2d(image, filters, padding=1).abs() for image in (x, reconstructed))
    # mse_loss averages over both directions; the sum of the two means is twice that.
    return 2 * F.mse_loss(of_reconstructed, of_x)


def perceptual_loss(of_x: Sequence[Tensor], of_reconstructed: Sequence[Tensor]) -> Tensor:
    """Mean over the feature maps of the mean squared difference, each map scaled by the mean square of x's own.

    The scaling makes the term a relative error, so that λ₂ does not depend on the network that the features come from.
    """
    terms = [
        F.mse_loss(ours, theirs) / theirs.square().mean().clamp_min(1e-8)
        for ours, theirs in zip(of_reconstructed, of_x, strict=True)
    ]
    return torch.stack(terms).mean()


@dataclass(frozen=True)
class Objectives:
    """The terms and their weights, as a model's ``training_loss`` is given them.

    Attributes:
        gradient_weight: λ₁ of the gradient term.
        perceptual_weight: λ₂ of the perceptual term.
        network: returns the feature maps of images (B, 1, H, W); ``None`` leaves the perceptual term out.
    """

    gradient_weight: float
    perceptual_weight: float
    network: nn.Module | None = None

    def reconstruction(self, x: Tensor, reconstructed: Tensor) -> tuple[Tensor, Terms]:
        """Return pixel + λ₁ · gradient + λ₂ · perceptual of two images (B, 1, H, W), and each term, in float32.

        Autocast is switched off in here: losses are small differences, which bfloat16 would round away.
        """
        with torch.autocast(x.device.type, enabled=False):
            x, reconstructed = x.float(), reconstructed.float()
            pixel = pixel_loss(x, reconstructed)
            gradient = gradient_loss(x, reconstructed)
            total = pixel + self.gradient_weight * gradient
            terms = {"pixel": pixel, "gradient": gradient, "psnr": -10 * torch.log10(pixel.clamp_min(1e-12))}
            if self.network is not None and self.perceptual_weight > 0:
                with torch.no_grad():
                    of_x = self.network(x)
                terms["perceptual"] = perceptual_loss(of_x, self.network(reconstructed))
                total = total + self.perceptual_weight * terms["perceptual"]
        return total, {name: value.detach() for name, value in terms.items()}
