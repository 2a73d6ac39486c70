"""The order of operations of the authors' code, the reference that faster forms are measured against.

- The plain modules, each source by itself, and c(t) + c(c(t)) + c(c(c(t))) by six convolutions.
- SFNN channel by channel, one singular value decomposition each, of all channels of each source. The decompositions
  give singular values only.

Without further arguments everything is as published: memory is laid out channels first, and torch has its threads
everywhere. The layout and what surrounds the decompositions can be chosen; the operations stay the same.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from fusekit.extend import FusionModel, FusionRule, WeightedRule, normalized
from fusekit_ehdran.encoder import ResidualAttention, pooling_gate

#: What each of the rules makes of nuclear norms (N, B, C).
_ACTIVITIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sfnn": lambda norms: norms.amax(-1, keepdim=True).square(),
    "sfnn-mean": lambda norms: norms.mean(-1, keepdim=True),
    "sfnn-sum": lambda norms: norms.sum(-1, keepdim=True),
    "sfnn-channel": lambda norms: norms,
}


class PublishedSFNN(WeightedRule):
    """The rules ``sfnn``, ``sfnn-mean``, ``sfnn-sum`` and ``sfnn-channel`` by one decomposition a channel, in a loop.

    Args:
        name: of the rule.
        around: makes the context that the decompositions run in, such as one that sets the threads of torch.
    """

    def __init__(self, name: str, around: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.name, self.around = name, around

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        with self.around():
            norms = torch.stack([_nuclear_norms(feature) for feature in features])
        return normalized(_ACTIVITIES[self.name](norms))[..., None, None]


def _nuclear_norms(features: Tensor) -> Tensor:
    """Return the nuclear norm of each channel of the softmax over channels: (B, C, H, W) → (B, C)."""
    shares = features.float().softmax(dim=1).contiguous()
    return torch.stack([torch.stack([_nuclear_norm(channel) for channel in image]) for image in shares])


def _nuclear_norm(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix).sum()


def is_known(network: FusionModel) -> bool:
    """Return whether a model has parts whose order of operations in the authors' code is another than here."""
    return any(isinstance(module, ResidualAttention) for module in network.modules())


def published(network: FusionModel, *, channels_last: bool = False) -> FusionModel:
    """Return the model, changed in place to run the authors' order of operations.

    Args:
        network: in evaluation mode.
        channels_last: layout of the weights, which that of the features follows.
    """
    network.use_form("plain")
    for module in network.modules():
        if isinstance(module, ResidualAttention):
            module.forward = types.MethodType(_six_convolutions, module)  # type: ignore[method-assign]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


def _six_convolutions(module: nn.Module, t: Tensor) -> Tensor:
    assert isinstance(module, ResidualAttention)
    shared = module.shared
    return t + pooling_gate(t) * (shared(t) + shared(shared(t)) + shared(shared(shared(t))))


def published_rule(
    rule: FusionRule | None, around: Callable[[], AbstractContextManager[None]] = nullcontext
) -> FusionRule | None:
    """Return a rule as the authors' code computes it; rules that are not theirs stay as they are.

    Args:
        rule: of the model, ``None`` where it has none.
        around: makes the context that the decompositions run in, as in `PublishedSFNN`.
    """
    if rule is None or rule.name not in _ACTIVITIES or rule.options:
        return rule
    return PublishedSFNN(rule.name, around)
