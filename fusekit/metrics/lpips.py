"""``lpips.*``: distances of a network's features, in the form of LPIPS (Zhang et al., 2018) without learned weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.errors import InputError, WeightsError
from fusekit.machine.files import check_regular, sha256_of
from fusekit.metrics.base import TogetherMetric
from fusekit.metrics.levels import precise
from fusekit.metrics.vgg import HUB, load_perceptual

#: The environment variable that names the file of the pruned VGG-19.
VARIABLE = "FUSEKIT_PERCEPTUAL"

_PRUNED_DIGEST = "d2f059cbcd6669556a43aadef58d20c8b280462c18b60a9e7424a14dd271cd6b"
# Three max-pools leave 2×2, which the convolutions' mirrored border needs.
_LEAST_SIDE = 8


def feature_distances(network: nn.Module, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
    """Return Σ over the layers of the mean over the pixels of ‖f(S) − f(F)‖², f of length 1 over the channels.

    Args:
        network: returns a list of feature maps before their ReLU, which is applied here.
        sources: N images (B, 1, H, W) in [0, 1].
        fused: an image of that shape.

    Returns:
        (N, B), in the precision of the network, as float64.
    """
    count = len(sources)
    images = torch.cat([*sources, fused]).float()
    total: Tensor = torch.zeros((), device=fused.device)
    for features in network(images):
        directions = F.normalize(F.relu(features), dim=1, eps=1e-10)
        directions = directions.view(count + 1, -1, *directions.shape[1:])
        total = total + (directions[:-1] - directions[-1:]).square().sum(2).mean((2, 3))
    return precise(total)


class LearnedDistance(TogetherMetric):
    """Base of the distances of a network's features; subclasses say which network.

    The features of each layer are scaled to length 1 over the channels, in each pixel; their squared differences are
    averaged over the pixels and added up over the layers. LPIPS weighs the channels by what it has learned from
    people's judgements; here all have the weight 1. Networks were trained on photographs. Equal images have 0.

    Attributes:
        network: what the features come from, for messages.
    """

    range = (0.0, 6.0)
    data_range = "[0, 1]"
    combine = "mean"
    network: ClassVar[str]

    def __init__(self) -> None:
        self.features = self.load()

    def load(self) -> nn.Module:
        """Return the network.

        Raises:
            WeightsError: its weights are not there.
        """
        raise NotImplementedError(f"{type(self).__name__} must define load()")

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        if min(fused.shape[2:]) < _LEAST_SIDE:
            raise InputError(
                f"{self.title} takes images of at least {_LEAST_SIDE}×{_LEAST_SIDE} pixels, "
                f"not {fused.shape[2]}×{fused.shape[3]}"
            )
        return feature_distances(self.features.to(fused.device), sources, fused)


class PrunedVGG19Distance(LearnedDistance):
    """Distance of the features of a VGG-19 with a quarter of its channels, at the layers 1-2, 2-2 and 3-4."""

    network = "VGG-19, pruned (Wang et al.: Collaborative Distillation. CVPR, 2020)"
    look_alikes = "LPIPS itself has learned weights and other networks: its values do not compare. lpips.vgg16."

    def load(self) -> nn.Module:
        given = os.environ.get(VARIABLE)
        how = (
            f"the metric lpips.vgg19-pruned needs the file trained_models/wct_se_16x_new/20191110-132643_E20.pth of "
            f"github.com/MingSun-Tse/Collaborative-Distillation; set {VARIABLE} to its path"
        )
        if not given:
            raise WeightsError(f"{VARIABLE} is not set: {how}")
        path = Path(given)
        check_regular(path, WeightsError)
        if not path.is_file():
            raise WeightsError(f"there is no file {path}, which {VARIABLE} names: {how}")
        return _pruned(path, how)


class VGG16Distance(LearnedDistance):
    """Distance of the features of VGG-16 as trained on ImageNet, at the layers 1-2, 2-2 and 3-3, from the Hub."""

    network = f"VGG-16, hub:{HUB['vgg16']}"
    look_alikes = (
        "LPIPS itself has learned weights and two layers more: its values do not compare. lpips.vgg19-pruned: another "
        "network, other values."
    )

    def load(self) -> nn.Module:
        return _vgg16()


@lru_cache(maxsize=2)
def _pruned(path: Path, how: str) -> nn.Module:
    """Read the pruned VGG-19; other weights make another metric, and are refused."""
    digest = sha256_of(path)
    if digest != _PRUNED_DIGEST:
        raise WeightsError(
            f"{path} is another file (sha256 {digest[:16]}…, not {_PRUNED_DIGEST[:16]}…), whose distances would not "
            f"compare: {how}"
        )
    return load_perceptual(path)


@lru_cache(maxsize=1)
def _vgg16() -> nn.Module:
    return load_perceptual("vgg16")
