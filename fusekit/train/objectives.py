"""What training minimises: pixel, gradient and perceptual terms (Zhou et al., BIBM 2024, Section II-D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.errors import TrainingError

#: Scalars by name, without gradients, for the log.
Terms: TypeAlias = dict[str, Tensor]

_SOBEL_X = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


def pixel_loss(x: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean of (x − x̂)²."""
    return F.mse_loss(reconstructed, x)


def gradient_loss(x: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean squared difference of |∂x| plus that of |∂y|, Sobel filters, as the authors' code computes ‖∇x − ∇x̂‖²."""
    kernel = torch.tensor(_SOBEL_X, dtype=x.dtype, device=x.device)
    filters = torch.stack([kernel, kernel.T])[:, None]
    of_x, of_reconstructed = (F.conv2d(image, filters, padding=1).abs() for image in (x, reconstructed))
    # mse_loss averages over both directions; the sum of the two means is twice that.
    return 2 * F.mse_loss(of_reconstructed, of_x)


class PrunedVGG19(nn.Module):
    """Features of VGG-19 pruned to a quarter of its channels (Wang et al., Collaborative Distillation, CVPR 2020).

    Returns the responses before the ReLU in front of each of the first three max-pools (convolutions 1-2, 2-2, 3-4), of
    images (B, 1, H, W) in [0, 1]. The weights are a local file; convolutions see reflect-padded input.
    """

    _LAYERS = ("conv11", "conv12", "conv21", "conv22", "conv31", "conv32", "conv33", "conv34")
    _TAPS = ("conv12", "conv22", "conv34")

    def __init__(self, state: dict[str, Tensor], path: Path) -> None:
        super().__init__()
        needed = ("conv0", *self._LAYERS)
        missing = [name for name in needed if f"{name}.weight" not in state]
        if missing:
            raise TrainingError(f"{path} has no {missing[0]}.weight; the perceptual loss needs VGG-19 up to conv34")
        for name in needed:
            self.register_buffer(f"{name}_weight", state[f"{name}.weight"].float())
            self.register_buffer(f"{name}_bias", state[f"{name}.bias"].float())

    def _convolve(self, x: Tensor, name: str) -> Tensor:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        if weight.shape[-1] > 1:
            x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, weight, bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        x = self._convolve(x.expand(-1, 3, -1, -1), "conv0")
        for name in self._LAYERS:
            x = self._convolve(x, name)
            if name in self._TAPS:
                taps.append(x)
            x = F.relu(x)
            if name in self._TAPS:
                x = F.max_pool2d(x, 2)
        return taps


def load_perceptual(path: Path) -> PrunedVGG19:
    """Read the perceptual network from a safetensors file or a ``.pth`` that loads with ``weights_only=True``."""
    from fusekit.weights.convert import read_checkpoint

    return PrunedVGG19(read_checkpoint(path), path).eval()


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
