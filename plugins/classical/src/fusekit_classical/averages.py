"""The models ``saliency`` and ``pca``: averages of the sources, weighted pixel by pixel or as wholes."""

from __future__ import annotations

import torch
from torch import Tensor

from fusekit.extend import Joint
from fusekit_classical import plugin


def saliency(x: Tensor) -> Tensor:
    """Return the mean distance of each value of (B, 1, *S) to all values of its image, stretched to [0, 1].

    Zhai and Shah (ACM Multimedia 2006), for any number of grey levels, in float64; 0 where all pixels are equal.
    """
    flat = x.double().flatten(1)
    values, order = flat.sort(1)
    count = flat.shape[1]
    below = values.cumsum(1)
    ranks = torch.arange(1, count + 1, device=x.device)
    # Σ |v − x| = Σ of what is not greater (v − x) + Σ of what is greater (x − v).
    distances = (values * (2 * ranks - count) + below[:, -1:] - 2 * below) / count
    found = torch.empty_like(flat).scatter_(1, order, distances)
    low, high = found.amin(1, keepdim=True), found.amax(1, keepdim=True)
    span = high - low
    return torch.where(span > 1e-12, (found - low) / span.clamp_min(1e-12), 0.0).view(x.shape)


class Saliency(Joint):
    """Σᵢ wᵢ·xᵢ with wᵢ = 1/N + (vᵢ − the sources' mean v) / (N − 1) and the `saliency` v.

    For two sources the weights are those of Ma et al.; for more they are as even, at least 0, and sum to 1.
    """

    spec = plugin.SALIENCY

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        salient = torch.stack([saliency(source) for source in sources])
        count = len(sources)
        weights = 1 / count + (salient - salient.mean(0)) / (count - 1)
        return (weights * torch.stack(list(sources)).double()).sum(0).to(sources[0].dtype)


class PCA(Joint):
    """Σᵢ wᵢ·xᵢ with one weight a source: its share of the first principal component of the sources' values.

    The magnitudes of the component count, as sources that run against each other have different signs in it. Where the
    sources do not vary, weights are equal.
    """

    spec = plugin.PCA

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        stacked = torch.stack([source.double().flatten(1) for source in sources], dim=1)
        centred = stacked - stacked.mean(2, keepdim=True)
        covariance = centred @ centred.mT / centred.shape[2]
        component = torch.linalg.eigh(covariance).eigenvectors[:, :, -1].abs()
        flat = covariance.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) <= 1e-12
        component = torch.where(flat, torch.ones_like(component), component)
        weights = component / component.sum(1, keepdim=True)
        return (weights[..., None] * stacked).sum(1).view(sources[0].shape).to(sources[0].dtype)
