"""Operations: how many a network carries out, and how many a second the machine can."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fusekit.machine.threads import torch_threads
from fusekit.models.base import BoundRule, EncoderDecoder, FusionModel
from fusekit.rules.base import FusionRule, WeightedRule

_CHANNELS = 64
# The side of what is counted; more would take minutes and gigabytes, and tell nothing new.
_PART = 1024


class Rate(NamedTuple):
    """Work that the machine does at its full rate.

    Attributes:
        dtype: that it is done in.
        name: of the work.
        work: does it once.
        operations: of once, a multiply-add counting as two.
    """

    dtype: torch.dtype
    name: str
    work: Callable[[], Any]
    operations: int

    @property
    def label(self) -> str:
        """What it is called in the race."""
        return f"{self.name} {self.dtype}"


def probes(device: torch.device, dtype: torch.dtype) -> list[Rate]:
    """Return a 64→64 3×3 convolution, channels last, and a product of square matrices, for one device and dtype."""
    on_gpu = device.type == "cuda"
    # Large enough for the device to be busy, small enough to be done in a fraction of a second.
    batch, side, order = (16, 256, 4096) if on_gpu else (1, 256, 1024)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    image = random(batch, _CHANNELS, side, side).contiguous(memory_format=torch.channels_last)
    weight = random(_CHANNELS, _CHANNELS, 3, 3).contiguous(memory_format=torch.channels_last)
    left, right = random(order, order), random(order, order)

    @torch.inference_mode()
    def convolve() -> None:
        torch.nn.functional.conv2d(image, weight, padding=1)

    @torch.inference_mode()
    def multiply() -> None:
        torch.mm(left, right)

    return [
        Rate(dtype, "convolution", convolve, 2 * 9 * _CHANNELS**2 * batch * side**2),
        Rate(dtype, "product", multiply, 2 * order**3),
    ]


def count_operations(network: FusionModel, sources: Sequence[Tensor], rule: FusionRule | None = None) -> int:
    """Return the operations of convolutions and matrix products in encoding all sources and decoding once.

    A multiply-add counts as two. They are counted as they are carried out: with the margins that tiles share, without
    background that is copied, with the fewer multiplications of Winograd's convolutions. The rule's own are not among
    them, but for a network that brings its own; what is computed at the first call only is, if this is it. Of a large
    image a part is counted, and the rest by its pixels.

    Args:
        network: in evaluation mode.
        sources: N tensors (B, 1, H, W).
        rule: whether it weighs decides by which method the network decodes.
    """
    from torch.utils.flop_counter import FlopCounterMode

    parts = [source[:, :, :_PART, :_PART] for source in sources]
    counter = FlopCounterMode(display=False, custom_mapping=_on_cpu())
    # With one thread everything runs in this one, which is the one that the counter sees.
    with torch_threads(1), torch.no_grad(), counter:
        if isinstance(network, EncoderDecoder) and not isinstance(network, BoundRule):
            # Rules of their kind without convolutions and products.
            network.fuse(parts, "weighted" if isinstance(rule, WeightedRule) else "max")
        else:
            network.fuse(parts)
    return round(counter.get_total_flops() * sources[0].numel() / parts[0].numel())


def _on_cpu() -> dict[Any, Callable[..., int]]:
    """Return how to count what torch's own counter does not know: oneDNN's convolutions, a CPU's fused attention."""
    fused = [(torch.ops.mkldnn, name) for name in ("_convolution_pointwise", "_convolution_pointwise_")]
    names = [(torch.ops.aten, "mkldnn_convolution"), *fused]
    found = {getattr(space, name): _of_convolution for space, name in names if hasattr(space, name)}
    return found | {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _of_attention}


def _of_convolution(*given: Any, out_shape: Sequence[int], **_: Any) -> int:
    """Return the operations of a convolution of these shapes: the input, one to add to or none, the weight."""
    weight = given[2] if isinstance(given[2], torch.Size) and len(given[2]) == len(out_shape) else given[1]
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _of_attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Return the operations of both products of attention: of (…, L, E) and (…, S, E), and with (…, S, Ev)."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
