"""The inference form of GeSeNet: the same function as the plain modules in evaluation mode, composed once.

- A layer of the region mask module is one convolution instead of two. Outside the mask s masked channels f·q' are zero,
  so c(f·d') and c(f) differ at those pixels alone that are outside the mask and have a neighbour inside it; there
  c(f·q') is taken off again. Channels are sorted, dense ones first, so that masked ones are a slice.
- The edge block's 1×1 convolutions become one, and its gradient filters one depthwise convolution.
- Memory is laid out channels last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import keep_freed_memory
from fusekit_gesenet.branch import LAYERS, Branch, EdgeBlock, RegionMask
from fusekit_gesenet.fusion import Decoder, Refinement

#: Address, version, dtype and device of a tensor.
_Stamp = tuple[int, int, torch.dtype, torch.device]
#: What oneDNN computes in.
_ONEDNN = (torch.float32, torch.bfloat16)


def stamps(module: nn.Module) -> list[_Stamp]:
    """Return what changes when a module's weights change; tensors made in inference mode count no versions."""
    return [
        (each.data_ptr(), -1 if each.is_inference() else each._version, each.dtype, each.device)
        for each in module.parameters()
    ]


class InferenceForm:
    """The network composed: two sources (B, 1, H, W), even sides → (B, 1, H, W).

    Args:
        first, second: the branches.
        refinement, decoder: of both.

    Attributes:
        made_of: the `stamps` of the network that it was composed of.
    """

    @torch.no_grad()
    def __init__(self, network: nn.Module, first: Branch, second: Branch, refinement: Refinement, decoder: Decoder):
        self.made_of = stamps(network)
        # While an alias lives, no other tensor comes to lie at the same address.
        self._kept = [each.clone() if each.is_inference() else each.detach() for each in network.parameters()]
        if self._kept[0].device.type == "cpu":
            keep_freed_memory()
        self.first, self.second = _Branch(first), _Branch(second)
        self.scale = [_Convolution(each) for each in refinement.scale]
        self.shift = [_Convolution(each) for each in refinement.shift]
        self.mix = _Convolution(refinement.mix)
        self.decode, self.last = _Convolution(decoder.first), _Convolution(decoder.last)

    def is_of(self, network: nn.Module) -> bool:
        """Return whether the form was composed of these weights as they are now."""
        if self.made_of != stamps(network):
            return False
        pairs = zip(network.parameters(), self._kept, strict=True)
        return all(torch.equal(each, kept) for each, kept in pairs if each.is_inference())

    def __call__(self, *sources: Tensor) -> Tensor:
        first_edges, first = self.first(sources[0])
        second_edges, second = self.second(sources[1])
        scale = self.scale[1](F.leaky_relu_(self.scale[0](second_edges), 0.1))
        refined = F.leaky_relu_(self.mix(torch.cat([first, second, scale], dim=1)), 0.01)
        refined += self.shift[1](F.leaky_relu_(self.shift[0](second_edges), 0.1))
        hidden = F.leaky_relu_(self.decode(torch.cat([refined, first_edges], dim=1)), 0.2)
        return self.last(hidden).tanh_().div_(2).add_(0.5)


class _Convolution:
    """A convolution that keeps the size, channels last."""

    def __init__(self, module: nn.Module) -> None:
        assert isinstance(module, nn.Conv2d)
        self.set(module.weight, module.bias, module.groups)

    def set(self, weight: Tensor, bias: Tensor | None, groups: int = 1) -> _Convolution:
        """Take other weights."""
        self.weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().clone()
        self.groups = groups
        return self

    def __call__(self, x: Tensor) -> Tensor:
        pad = self.weight.shape[-1] // 2
        if x.device.type == "cpu" and x.dtype in _ONEDNN and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            # With one thread `F.conv2d` takes another, several times slower way for few channels.
            ones = (1, 1)
            found: Tensor = torch.mkldnn_convolution(x, self.weight, self.bias, (pad, pad), ones, ones, self.groups)
            return found
        return F.conv2d(x, self.weight, self.bias, padding=pad, groups=self.groups)


def _of(weight: Tensor, bias: Tensor | None, groups: int = 1) -> _Convolution:
    return _Convolution.__new__(_Convolution).set(weight, bias, groups)


class _Branch:
    """A `Branch` composed: (B, 1, H, W) → edges and region features."""

    def __init__(self, branch: Branch) -> None:
        self.shallow = _Convolution(branch.shallow)
        self.edges = _Edges(branch.edges)
        self.region = _Region(branch.region)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # An image of one channel lies both ways, and its convolution comes channels first.
        shallow = self.shallow(x).contiguous(memory_format=torch.channels_last)
        edges = self.edges(F.leaky_relu_(shallow, 0.2))
        return edges, self.region(edges)


class _Edges:
    """An `EdgeBlock` composed."""

    def __init__(self, block: EdgeBlock) -> None:
        self.first, self.second = _Convolution(block.first), _Convolution(block.second)
        channels = block.along_x.groups
        # Of each channel both gradients, one after the other.
        along = torch.stack([block.along_x.weight, block.along_y.weight], dim=1).flatten(0, 1)
        self.along = _of(along, None, channels)
        project = torch.cat([block.dense.weight, block.gradient.weight.repeat_interleave(2, dim=1)], dim=1)
        assert block.dense.bias is not None
        assert block.gradient.bias is not None
        self.project = _of(project, block.dense.bias + block.gradient.bias)

    def __call__(self, x: Tensor) -> Tensor:
        both = torch.cat([x, F.leaky_relu_(self.first(x), 0.2)], dim=1)
        second = F.leaky_relu_(self.second(both), 0.2)
        return F.leaky_relu_(self.project(torch.cat([both, second, self.along(x).abs_()], dim=1)), 0.1)


class _Region:
    """A `RegionMask` composed."""

    def __init__(self, region: RegionMask) -> None:
        first, _, _, second, _, self.logits = region.spatial
        self.spatial = [_Convolution(first), _Convolution(second)]
        self.attention = region.attention
        dense = region.dense_channels[0]
        order = [torch.argsort(~dense[:, layer], stable=True) for layer in range(LAYERS)]
        self.dense = [int(dense[:, layer].sum()) for layer in range(LAYERS)]
        self.layers, self.masked = [], []
        before = torch.arange(len(dense), device=dense.device)
        for index, layer in enumerate(region.layers):
            assert isinstance(layer, nn.Conv2d)
            weight = layer.weight[order[index]][:, before]
            self.layers.append(_of(weight, None))
            # Of masked inputs and dense outputs: (9·inputs, outputs), taps first.
            split = len(dense) if index == 0 else self.dense[index - 1]
            self.masked.append(weight[: self.dense[index], split:].permute(2, 3, 1, 0).flatten(0, 2))
            before = order[index]
        columns = torch.cat([index * len(dense) + each for index, each in enumerate(order)])
        self.join = _of(region.join.weight[:, columns], region.join.bias)

    def __call__(self, x: Tensor) -> Tensor:
        mask = self._mask(x)
        border = None if bool(mask.all()) else _border(mask)
        layers, features = [], x
        for index, layer in enumerate(self.layers):
            out = layer(features)
            if border is not None:
                out[:, self.dense[index] :] *= mask
                if index > 0:
                    masked = features[:, self.dense[index - 1] :]
                    images, rows, columns = border
                    out.permute(0, 2, 3, 1)[images, rows, columns, : self.dense[index]] -= (
                        _patches(masked, border) @ self.masked[index]
                    )
            features = F.relu_(out)
            layers.append(features)
        joined = self.join(torch.cat(layers, dim=1))
        return joined.mul_(self.attention(joined)).add_(x)

    def _mask(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(F.relu_(self.spatial[0](x)), 2)
        logits = self.logits(F.relu_(self.spatial[1](pooled)))
        return (logits[:, 1:] > logits[:, :1]).to(x.dtype)


def _border(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, row and column of the pixels outside a mask (B, 1, H, W) that have a neighbour inside it."""
    images, rows, columns = ((F.max_pool2d(mask, 3, 1, 1) > mask)[:, 0]).nonzero(as_tuple=True)
    return images, rows, columns


def _patches(features: Tensor, places: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the 3×3 neighbourhoods of places in (B, C, H, W), zero outside the image: (places, 9·C), taps first."""
    images, rows, columns = places
    padded = F.pad(features, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    taps = [padded[images, rows + down, columns + right] for down in range(3) for right in range(3)]
    return torch.cat(taps, dim=1)
