"""``fsim``: feature similarity of phase congruency and gradients (Zhang et al., 2011), and EH-DRAN's variant of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.metrics.base import TogetherMetric
from fusekit.metrics.levels import precise

_SCALES = 4
_FINEST, _STEP = 6, 2
_DEVIATIONS = 2.0
_CONGRUENCY, _GRADIENT = 0.85, 160
_EPSILON = torch.finfo(torch.float32).eps


@lru_cache(maxsize=8)
def _polar(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return radius and angle of each frequency of an H×W spectrum, the mean first; radius 1 at the mean."""

    def axis(length: int) -> Tensor:
        whole = length // 2 * 2
        steps = torch.arange(length, dtype=torch.float64) - length // 2
        return torch.fft.ifftshift(steps / max(whole, 1))

    down, right = torch.meshgrid(axis(height), axis(width), indexing="ij")
    radius = (down.square() + right.square()).sqrt()
    radius[0, 0] = 1
    return radius, torch.atan2(-down, right)


@lru_cache(maxsize=8)
def _radial(height: int, width: int, bandwidth: float) -> Tensor:
    """Return the log-Gabor filters of all scales: (4, H, W), wavelengths 6, 12, 24 and 48 pixels."""
    radius, _ = _polar(height, width)
    low_pass = 1 / (1 + (radius / 0.45) ** 30)
    wavelengths = torch.tensor([_FINEST * _STEP**scale for scale in range(_SCALES)]).view(-1, 1, 1)
    filters: Tensor = low_pass * torch.exp(-((radius * wavelengths).log() ** 2) / (2 * math.log(bandwidth) ** 2))
    filters[:, 0, 0] = 0
    return filters


def _angular_distance(height: int, width: int, angle: float) -> Tensor:
    """Return the distance of each frequency's angle from ``angle``, within 0…π: (H, W)."""
    _, theta = _polar(height, width)
    return torch.atan2(torch.sin(theta - angle), torch.cos(theta - angle)).abs()


@lru_cache(maxsize=4)
def _bank(height: int, width: int) -> tuple[Tensor, list[float]]:
    """Return FSIM's filters, (4 orientations, 4 scales, H, W), and each orientation's noise threshold.

    The threshold is a multiple of the root of the median energy at the finest scale.
    """
    spread = math.pi / (4 * 1.2)
    angular = torch.stack([_angular_distance(height, width, turn * math.pi / 4) for turn in range(4)])
    filters = torch.exp(-angular.square() / (2 * spread**2))[:, None] * _radial(height, width, 0.55)
    waves = torch.fft.ifft2(filters).real * math.sqrt(height * width)
    # The energy that noise of the finest scale's median leaves in the sum of all scales.
    noise_per_median = waves.sum(1).square().sum((1, 2)) / (math.log(2) * filters[:, 0].square().sum((1, 2)))
    per_tau = (math.sqrt(math.pi / 2) + _DEVIATIONS * math.sqrt(2 - math.pi / 2)) / 1.7
    return filters.float(), (noise_per_median.sqrt() * per_tau).tolist()


def phase_congruency(images: Tensor) -> Tensor:
    """Return the phase congruency of grey levels 0-255, in [0, 1]: (B, H, W) → (B, H, W); 0 for a constant image.

    Computed in float32, which changes FSIM by about 1e-7.
    """
    filters, thresholds = _bank(*images.shape[1:])
    spectrum = _spectrum(images)
    energies, amplitudes = torch.zeros_like(spectrum.real), torch.full_like(spectrum.real, _EPSILON)
    for bank, threshold in zip(filters.to(images.device), thresholds, strict=True):
        energy, amplitude, responses = _energy(spectrum, bank, _EPSILON)
        median = responses[:, 0].flatten(1).median(1).values
        energies += (energy - threshold * median[:, None, None]).clamp_min_(0)
        amplitudes += amplitude
    return precise(energies / amplitudes)


def _spectrum(images: Tensor) -> Tensor:
    """Return the spectrum less a constant, which filters without mean ignore: a constant image leaves exactly 0."""
    return torch.fft.fft2((images - images[:, :1, :1]).float())


def _energy(spectrum: Tensor, bank: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Filter by the scales of one orientation: (B, H, W) complex, (4, H, W) → energy, Σ amplitudes, amplitudes.

    The energy is Σ A·(cos δ − |sin δ|), δ the deviation of a scale's phase from that of the sum over the scales.
    """
    waves = torch.fft.ifft2(spectrum[:, None] * bank)
    even, odd = waves.real, waves.imag
    mean_even, mean_odd = even.sum(1), odd.sum(1)
    norm = (mean_even.square() + mean_odd.square()).sqrt()
    direction_even, direction_odd = mean_even / (norm + epsilon), mean_odd / (norm + epsilon)
    across = (even * direction_odd[:, None] - odd * direction_even[:, None]).abs_().sum(1)
    amplitudes = (even.square() + odd.square()).sqrt_()
    return norm.square() / (norm + epsilon) - across, amplitudes.sum(1), amplitudes


def _scharr(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return both Scharr derivatives with the weights 3, 10, 3, of padded images: (B, H+2, W+2) → two (B, H, W)."""
    along_x, along_y = images[..., 2:] - images[..., :-2], images[..., 2:, :] - images[..., :-2, :]
    along_x = 3 * (along_x[..., :-2, :] + along_x[..., 2:, :]) + 10 * along_x[..., 1:-1, :]
    along_y = 3 * (along_y[..., :-2] + along_y[..., 2:]) + 10 * along_y[..., 1:-1]
    return along_x, along_y


def _similarity(first: Tensor, second: Tensor, constant: float) -> Tensor:
    return (2 * first * second + constant) / (first.square() + second.square() + constant)


def _pooled(congruency: Tensor, gradient: Tensor) -> Tensor:
    """Compare all images but the last with the last: two (N + 1, B, H, W) → (N, B); 1 where all are featureless."""
    weight = torch.maximum(congruency[:-1], congruency[-1:])
    score = _similarity(congruency[:-1], congruency[-1:], _CONGRUENCY)
    score = score * _similarity(gradient[:-1], gradient[-1:], _GRADIENT)
    total = weight.sum((2, 3))
    return ((score * weight).sum((2, 3)) / total).where(total > 0, 1)


class FeatureSimilarity(TogetherMetric):
    """Feature similarity, the mean over the sources: 1 where phase congruency and gradients agree.

    Both images are averaged down to about 256 pixels first where the shorter side has 384 or more. Two constant images
    have 1; a constant one has no phase congruency.
    """

    range = (0.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    combine = "mean"
    look_alikes = (
        "fsim.ehdran and other code after the package image-similarity-measures: another phase congruency with six "
        "orientations, and Scharr gradients cut to integers: higher or lower by some hundredths."
    )

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        images = torch.cat([precise(image) for image in (*sources, fused)]) * 255
        images = F.avg_pool2d(images, max(1, round(min(images.shape[2:]) / 256)))[:, 0]
        along_x, along_y = _scharr(F.pad(images, (1, 1, 1, 1)))
        gradient = (along_x.square() + along_y.square()).sqrt() / 16
        shape = (len(sources) + 1, len(fused), *images.shape[1:])
        return _pooled(phase_congruency(images).view(shape), gradient.view(shape))


def sharp_congruency(images: Tensor) -> Tensor:
    """Return Kovesi's phase congruency, summed over six orientations, of images in [0, 1]: (B, H, W) → (B, H, W).

    Each orientation's is weighted down where few scales respond. Its guard of 1e-4 against division by zero is meant
    for grey levels of 0-255.
    """
    epsilon = 1e-4
    spectrum = _spectrum(images)
    total = torch.zeros_like(spectrum.real)
    shares = sum(_STEP**-scale for scale in range(_SCALES))
    per_median = shares * (math.sqrt(math.pi / 2) + _DEVIATIONS * math.sqrt(2 - math.pi / 2)) / math.sqrt(math.log(4))
    for bank in _sharp_bank(*images.shape[1:]).to(images.device):
        energy, amplitude, responses = _energy(spectrum, bank, epsilon)
        threshold = (per_median * _median(responses[:, 0].flatten(1))).clamp_min(epsilon)
        energy = (energy - threshold[:, None, None]).clamp_min_(0)
        breadth = (amplitude / (responses.amax(1) + epsilon) - 1) / (_SCALES - 1)
        total += torch.sigmoid(10 * (breadth - 0.5)) * (energy / amplitude).where(amplitude > 0, 0)
    return precise(total)


@lru_cache(maxsize=4)
def _sharp_bank(height: int, width: int) -> Tensor:
    """Return the filters of `sharp_congruency`: (6 orientations, 4 scales, H, W)."""
    angular = torch.stack([_angular_distance(height, width, turn * math.pi / 6) for turn in range(6)])
    spread = ((3 * angular).clamp_max(math.pi).cos() + 1) / 2
    return (spread[:, None] * _radial(height, width, 0.5978)).float()


def _median(values: Tensor) -> Tensor:
    """Return the mean of the two middle values of each row, one where their number is odd: (B, n) → (B,)."""
    middle = values.shape[1] // 2
    upper = values.kthvalue(middle + 1, dim=1).values
    return upper if values.shape[1] % 2 else (values.kthvalue(middle, dim=1).values + upper) / 2


class EhdranFeatureSimilarity(FeatureSimilarity):
    """Feature similarity as EH-DRAN's evaluation code computes it on [0, 1]: nearly phase congruency alone.

    Its constants belong to grey levels 0-255, its Scharr derivatives lose their negative half and are rounded to
    integers of 0…16, and its phase congruency is summed over six orientations. For comparison with that paper only.
    """

    data_range = "[0, 1] with constants for grey levels 0-255"
    look_alikes = "fsim: the paper's definition. The same code on 8-bit input overflows 16 bits: far lower."

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        images = torch.cat([precise(image) for image in (*sources, fused)])
        along_x, along_y = _scharr(F.pad(images, (1, 1, 1, 1), mode="reflect")[:, 0])
        gradient = (along_x.clamp_min(0).round().square() + along_y.clamp_min(0).round().square()).sqrt()
        shape = (len(sources) + 1, len(fused), *images.shape[2:])
        return _pooled(sharp_congruency(images[:, 0]).view(shape), gradient.view(shape))
