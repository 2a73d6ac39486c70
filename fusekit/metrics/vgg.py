"""Networks whose feature maps the perceptual term compares: VGG of any make, from a file or the Hub.

Each takes images (B, 1, H, W) in [0, 1] and returns the responses before the ReLU in front of each of its first three
max-pools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.errors import TrainingError, UnknownNameError
from fusekit.weights.checkpoints import read_checkpoint
from fusekit.weights.hub import WEIGHTS, download
from fusekit.weights.resolve import ResolvedWeights, digest_of, from_hub, is_hub_address, is_path, pinned, split_pin

#: Names for ``--perceptual``, and timm's repositories of these networks, trained on ImageNet, on the Hugging Face Hub.
HUB = {name: f"timm/{name}.tv_in1k" for name in ("vgg16_bn", "vgg16", "vgg19_bn", "vgg19")}

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_BATCH_NORM_EPSILON = 1e-5


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


class _Layer(NamedTuple):
    """Indices of a convolution and of the BatchNorm behind it (``None`` without) in ``features``."""

    convolution: int
    norm: int | None


class VGG(nn.Module):
    """Features of a VGG with or without BatchNorm (Simonyan, Zisserman: ICLR 2015), as trained on ImageNet.

    Grey values are taken three times and normalised as ImageNet's are. Each BatchNorm is folded into the convolution
    before it, as its statistics are fixed.

    Args:
        state: a state dict in the key names that torchvision and timm share, ``features.N.weight`` and so on.
        path: where it came from, for messages.
    """

    def __init__(self, state: Mapping[str, Tensor], path: Path) -> None:
        super().__init__()
        self._blocks = _blocks(state, path)
        for layer in (layer for block in self._blocks for layer in block):
            weight, bias = _folded(state, layer, path)
            self.register_buffer(f"weight_{layer.convolution}", weight)
            self.register_buffer(f"bias_{layer.convolution}", bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        mean, std = (x.new_tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        x = (x.expand(-1, 3, -1, -1) - mean) / std
        for block in self._blocks:
            for number, (index, _) in enumerate(block):
                x = x if number == 0 else F.relu(x)
                x = F.conv2d(x, getattr(self, f"weight_{index}"), getattr(self, f"bias_{index}"), padding=1)
            taps.append(x)
            x = F.max_pool2d(F.relu(x), 2)
        return taps


def _blocks(state: Mapping[str, Tensor], path: Path) -> list[list[_Layer]]:
    """Return the layers before each of the first three max-pools.

    Only layers with parameters have keys, so a max-pool shows as a gap: behind a convolution comes its BatchNorm or
    not, then a ReLU, and then the next convolution unless a max-pool stands between.
    """
    kinds = {
        int(found[1]): tensor.dim()
        for key, tensor in state.items()
        if (found := re.fullmatch(r"features\.(\d+)\.weight", key))
    }
    convolutions = sorted(index for index, dimensions in kinds.items() if dimensions == 4)
    blocks: list[list[_Layer]] = [[]]
    for index, following in pairwise([*convolutions, None]):
        assert index is not None
        norm = index + 1 if kinds.get(index + 1) == 1 else None
        blocks[-1].append(_Layer(index, norm))
        activation = index + (1 if norm is None else 2)
        if following is not None and following > activation + 1:
            blocks.append([])
    if len(blocks) < 4 or convolutions[0] != 0:
        raise TrainingError(
            f"{path} holds no VGG up to the third max-pool; the perceptual term needs features.0.weight and on, in the "
            "key names of torchvision and timm, or the pruned VGG-19 of Collaborative Distillation"
        )
    return blocks[:3]


def _folded(state: Mapping[str, Tensor], layer: _Layer, path: Path) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with the BatchNorm behind it."""
    convolution, norm = f"features.{layer.convolution}", f"features.{layer.norm}"
    try:
        weight, bias = state[f"{convolution}.weight"].float(), state[f"{convolution}.bias"].float()
        if layer.norm is None:
            return weight, bias
        mean, variance = state[f"{norm}.running_mean"].float(), state[f"{norm}.running_var"].float()
        scale = state[f"{norm}.weight"].float() / (variance + _BATCH_NORM_EPSILON).sqrt()
        return weight * scale[:, None, None, None], (bias - mean) * scale + state[f"{norm}.bias"].float()
    except KeyError as error:
        raise TrainingError(f"{path} has no {error.args[0]}; the perceptual term needs the whole VGG") from None


def find_perceptual(source: str | Path) -> tuple[str, Path]:
    """Return what to call a perceptual network on any machine, and its weights file.

    Args:
        source: one of `HUB`, ``hub:owner/name[@revision]``, or a local file; behind the latter two ``#sha256=DIGEST``
            may say which file it must be. What comes from the Hub by address is called by its commit.

    Raises:
        UnknownNameError: ``source`` is neither a file nor one of the names.
        WeightsError: it cannot be had from the Hub, or has another digest.
    """
    text, digest = split_pin(str(source))
    if text in HUB:
        return text, download(HUB[text], WEIGHTS, "main").path
    if is_hub_address(text):
        found = pinned(from_hub(text), digest)
        return found.origin, found.path
    if not is_path(text):
        raise UnknownNameError("perceptual network", text, HUB, "or give a weights file, or hub:owner/name")
    path = Path(text)
    if digest is not None:
        pinned(ResolvedWeights(path.name, path, digest_of(path), "file"), digest)
    return path.name, path


def load_perceptual(source: str | Path) -> PrunedVGG19 | VGG:
    """Read a perceptual network, in evaluation mode and without parameters to train.

    Args:
        source: as `find_perceptual` takes it; a local file is safetensors, or a ``.pth`` that loads with
            ``weights_only=True``.

    Raises:
        TrainingError: the file holds neither a VGG nor the pruned VGG-19.
        WeightsError: it cannot be found or read.
    """
    _, path = find_perceptual(source)
    state = read_checkpoint(path)
    pruned = any(key.startswith("conv11.") for key in state)
    return (PrunedVGG19(state, path) if pruned else VGG(state, path)).eval()


def describe_perceptual(source: str | Path) -> dict[str, str]:
    """Return what a model card says of a perceptual network: its name or file name, and the file's digest."""
    name, path = find_perceptual(source)
    return {"name": name, "sha256": digest_of(path)}
