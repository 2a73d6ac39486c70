"""``qp``: preservation of phase congruency features (Zhao, Laganière and Liu, 2007)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from fusekit.metrics.base import SharedWorkMetric
from fusekit.metrics.filters import pixel_sum, planes_of, ratio_or
from fusekit.metrics.levels import precise
from fusekit.metrics.windows import gaussian, windowed

_SCALES, _ORIENTATIONS = 4, 6
_WAVELENGTH, _MULTIPLE, _BANDWIDTH = 3, 2.1, 0.55
_ANGULAR_SIGMA = math.pi / _ORIENTATIONS / 1.2
_NOISE_SIGMAS, _NOISE_SCALE = 2.0, 1.7
_CUTOFF, _GAIN, _EPSILON = 0.5, 10, 1e-4
_FEATURE, _STABILIZER = 0.1, 1e-4


@lru_cache(maxsize=2)
@torch.inference_mode(False)
def log_gabor(height: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the filters of an image size: (4, H, W) by scale, (6, H, W) by orientation, (6,) noise energies.

    The filter of a scale and an orientation is the product of the two, zero frequency first. The noise energy is the
    square sum of the real part of the four filters' summed kernel, over that of the finest filter.
    """
    down, across = (_axis(side, dtype, device) for side in (height, width))
    radius = torch.hypot(down[:, None], across)
    radius[0, 0] = 1
    angle = torch.atan2(-down[:, None], across)
    low_down, low_across = (torch.fft.fftshift(_centred(side, dtype, device) / side) for side in (height, width))
    low_pass = 1 / (1 + (torch.hypot(low_down[:, None], low_across) / 0.45).pow(30))
    wavelengths = [_WAVELENGTH * _MULTIPLE**scale for scale in range(_SCALES)]
    radial = torch.stack(
        [torch.exp(-(radius * length).log().square() / (2 * math.log(_BANDWIDTH) ** 2)) for length in wavelengths]
    )
    radial = radial * low_pass
    radial[:, 0, 0] = 0
    directions = [index * math.pi / _ORIENTATIONS for index in range(_ORIENTATIONS)]
    turned = torch.stack([torch.atan2(torch.sin(angle - one), torch.cos(angle - one)) for one in directions])
    spread = torch.exp(-turned.square() / (2 * _ANGULAR_SIGMA**2))
    summed = radial.sum(0) * spread
    opposite = summed.flip(-2, -1).roll((1, 1), (-2, -1))
    noise = pixel_sum(((summed + opposite) / 2).square()) / pixel_sum((radial[0] * spread).square())
    return radial, spread, noise


def _centred(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return −⌊side/2⌋, …, the middle being 0."""
    return torch.arange(side, dtype=dtype, device=device) - side // 2


def _axis(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the frequencies −½…½ of one axis, zero first; those of odd sides are divided by side − 1."""
    return torch.fft.ifftshift(_centred(side, dtype, device) / (side - side % 2))


def phase_congruency(planes: Tensor) -> Tensor:
    """Return phase congruency and the maximum and minimum of its moments: (N, B, H, W) → (3, N, B, H, W).

    Kovesi's measure with 4 scales from a wavelength of 3 pixels, times 2.1, and 6 orientations.
    """
    height, width = planes.shape[-2:]
    radial, spread, noise = log_gabor(height, width, planes.dtype, planes.device)
    spectrum = torch.fft.fft2(planes - planes.mean((-2, -1), keepdim=True))[..., None, :, :]
    energy, amplitude, square_x, square_y, product = (torch.zeros_like(planes) for _ in range(5))
    for index in range(_ORIENTATIONS):
        responses = torch.fft.ifft2(spectrum * (radial * spread[index]))
        even, odd = responses.real.contiguous(), responses.imag.contiguous()
        strengths = (even.square() + odd.square()).sqrt_()
        strength = strengths.sum(-3)
        found = _energy(even, odd, strengths[..., 0, :, :], noise[index])
        width_share = strength / (strengths.amax(-3) + _EPSILON) / _SCALES
        found = found * torch.sigmoid(_GAIN * (width_share - _CUTOFF))
        energy, amplitude = energy + found, amplitude + strength
        congruency = ratio_or(found, strength, 0.0)
        angle = index * math.pi / _ORIENTATIONS
        along_x, along_y = congruency * math.cos(angle), congruency * math.sin(angle)
        square_x, square_y = square_x + along_x.square(), square_y + along_y.square()
        product = product + along_x * along_y
    square_x, square_y = square_x / (_ORIENTATIONS / 2), square_y / (_ORIENTATIONS / 2)
    spread_of_moments = torch.hypot(product / _ORIENTATIONS, square_x - square_y) + _EPSILON
    total = square_x + square_y
    return torch.stack(
        [energy / (amplitude + _EPSILON), (total + spread_of_moments) / 2, (total - spread_of_moments) / 2]
    )


def _energy(even: Tensor, odd: Tensor, finest: Tensor, noise: Tensor) -> Tensor:
    """Return the energy in phase beyond the noise: two (N, B, 4, H, W) and the finest strength → (N, B, H, W)."""
    mean_even, mean_odd = even.sum(-3), odd.sum(-3)
    total = (mean_even.square() + mean_odd.square()).sqrt()
    out_of_phase = even * mean_odd[..., None, :, :]
    out_of_phase = out_of_phase.sub_(odd * mean_even[..., None, :, :]).abs_().sum(-3)
    energy = (total.square() - out_of_phase) / (total + _EPSILON)
    power = _median(finest.square().flatten(-2)) / math.log(2) * noise
    mean, deviation = math.sqrt(math.pi / 2), math.sqrt(2 - math.pi / 2)
    threshold = power.sqrt() * (mean + _NOISE_SIGMAS * deviation) / _NOISE_SCALE
    return (energy - threshold[..., None, None]).clamp_min(0)


def _median(values: Tensor) -> Tensor:
    """Return the median over the last axis, the mean of the two middle values of an even number."""
    count = values.shape[-1]
    lower = values.kthvalue((count + 1) // 2).values
    if count % 2:
        return lower
    return (lower + torch.where(values > lower[..., None], values, math.inf).amin(-1)) / 2


def feature_preservation(sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q_P for all sources, (B,), and for each alone, (N, B).

    The phase congruency and the maximum and minimum moments of each source, and of the source with the greatest phase
    congruency in each pixel, are correlated with the fused image's in 11×11 Gaussian windows of σ = 1.5 with a zero
    border, where their phase congruency exceeds 0.1. The greatest correlation of each pixel is averaged over the
    pixels with a feature in any source; the result is the product of the three maps' averages.

    Args:
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.
    """
    # float32 is exact to 1e-6 here, but not in the variances below.
    maps = precise(phase_congruency(planes_of([*sources, fused]).float()))
    own, of_fused = maps[:, :-1], maps[:, -1:]
    strongest = own[:, 0]
    for each in own.unbind(1)[1:]:
        strongest = torch.where(each[0] > strongest[0], each, strongest)
    candidates = torch.cat([own, strongest[:, None]], 1)
    mask = candidates[0] > _FEATURE
    # One map after the other: less memory at a time is twice as fast.
    correlation = torch.stack([_correlation(*each) for each in zip(candidates * mask, of_fused, strict=True)]) * mask
    alone, features = pixel_sum(correlation), pixel_sum(mask.to(maps.dtype))
    joint = pixel_sum(correlation.amax(1))
    return ratio_or(joint, features[-1], 0.0).prod(0), ratio_or(alone[:, :-1], features[:-1], 0.0).prod(0)


def _correlation(candidates: Tensor, of_fused: Tensor) -> Tensor:
    """Correlate locally (M, B, H, W) with (1, B, H, W) → (M, B, H, W)."""
    both = torch.cat([candidates, of_fused])
    count = len(candidates)
    window = gaussian(11, 1.5)
    moments = windowed(torch.cat([both, both.square(), candidates * of_fused]), window, "zero")
    mean, square, product = torch.tensor_split(moments, [count + 1, 2 * count + 2])
    variance = square - mean.square()
    covariance = product - mean[:-1] * mean[-1:]
    deviations = (variance[:-1] * variance[-1:]).abs().sqrt()
    return (covariance + _STABILIZER) / (deviations + _STABILIZER)


class PhaseCongruency(SharedWorkMetric):
    """Q_P: how well the fused image keeps the sources' features, edges and corners, found by phase congruency.

    An image compared with itself has a little less than 1, because only the source's maps are masked. Where no source
    has a feature, as in constant images, the value is 0. The definition extends to N sources as it is; a source's own
    value takes it for the only one.
    """

    range = (-1.0, 1.0)
    data_range = "grey levels 0-255, not rounded"
    look_alikes = "Other settings of phase congruency (scales, orientations, noise): differs by some hundredths."

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        return feature_preservation(sources, fused)
