"""The oracles of speed tables: a model in the order of operations of the authors' code, as published and tuned.

- The plain modules, each source by itself, and c(t) + c(c(t)) + c(c(c(t))) by six convolutions.
- SFNN channel by channel, one singular value decomposition each, of all channels of each source.

As published, memory is laid out channels first, torch has its threads everywhere, and the C library's allocator is as
it is. The tuned oracle does the same operations in the best form that is known without changing them: the layout and
the threads of the decompositions by a trial, and the allocator set as the inference form sets it. The decompositions of
both give singular values only.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fusekit.machine.allocator import keep_freed_memory
from fusekit.machine.threads import torch_threads
from fusekit.models.base import FusionModel
from fusekit.rules.base import FusionRule, WeightedRule, normalized

#: What each of the rules makes of nuclear norms (N, B, C).
_ACTIVITIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sfnn": lambda norms: norms.amax(-1, keepdim=True).square(),
    "sfnn-mean": lambda norms: norms.mean(-1, keepdim=True),
    "sfnn-sum": lambda norms: norms.sum(-1, keepdim=True),
    "sfnn-channel": lambda norms: norms,
}


class Choices(NamedTuple):
    """What can be tuned; without arguments, as published.

    Attributes:
        channels_last: layout of weights and features.
        decomposition_threads: of torch, for singular values; ``None`` leaves them.
        keeps_freed_memory: whether the allocator is set by `fusekit.machine.allocator.keep_freed_memory`.
    """

    channels_last: bool = False
    decomposition_threads: int | None = None
    keeps_freed_memory: bool = False


class PublishedSFNN(WeightedRule):
    """The rules ``sfnn``, ``sfnn-mean``, ``sfnn-sum`` and ``sfnn-channel`` by one decomposition a channel, in a loop.

    Args:
        name: of the rule.
        threads: of torch, for the decompositions; ``None`` leaves them.
    """

    def __init__(self, name: str, threads: int | None) -> None:
        self.name, self.threads = name, threads

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        with contextlib.nullcontext() if self.threads is None else torch_threads(self.threads):
            norms = torch.stack([_nuclear_norms(feature) for feature in features])
        return normalized(_ACTIVITIES[self.name](norms))[..., None, None]


def _nuclear_norms(features: Tensor) -> Tensor:
    """Return the nuclear norm of each channel of the softmax over channels: (B, C, H, W) → (B, C)."""
    shares = features.float().softmax(dim=1).contiguous()
    return torch.stack([torch.stack([_nuclear_norm(channel) for channel in image]) for image in shares])


def _nuclear_norm(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix).sum()


def published(network: FusionModel, choices: Choices) -> FusionModel:
    """Return the model, changed in place to run the authors' order of operations.

    Memory that is to be kept is kept by the whole process, and from then on.
    """
    from fusekit_ehdran.encoder import ResidualAttention

    if choices.keeps_freed_memory:
        keep_freed_memory()
    network.use_form("plain")
    for module in network.modules():
        if isinstance(module, ResidualAttention):
            module.forward = types.MethodType(_six_convolutions, module)  # type: ignore[method-assign]
    layout = torch.channels_last if choices.channels_last else torch.contiguous_format
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


def _six_convolutions(module: nn.Module, t: Tensor) -> Tensor:
    from fusekit_ehdran.encoder import ResidualAttention, pooling_gate

    assert isinstance(module, ResidualAttention)
    shared = module.shared
    return t + pooling_gate(t) * (shared(t) + shared(shared(t)) + shared(shared(shared(t))))


def published_rule(rule: FusionRule | None, choices: Choices) -> FusionRule | None:
    """Return a rule as the authors' code computes it; rules that are not theirs stay as they are."""
    if rule is None or rule.name not in _ACTIVITIES or rule.options:
        return rule
    return PublishedSFNN(rule.name, choices.decomposition_threads)
