"""The authors' order of operations, the reference of speed tables, and the trial of its best form.

As published, memory is laid out channels first, torch has its threads everywhere, and the C library's allocator is as
it is. The tuned reference does the same operations in the best form that is known without changing them: the layout and
the threads of the decompositions by a trial, and the allocator set as the inference form sets it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fusekit.machine.allocator import keep_freed_memory
from fusekit.machine.threads import torch_threads
from fusekit.models.base import EncoderDecoder, FusionModel
from fusekit.rules.base import FusionRule
from fusekit_bench.speed.race import Stopwatch

# As many channels tell how many threads serve the decompositions best, and images of this side which layout.
_TRIAL_CHANNELS = 2
_TRIAL_SIDE = 512


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


def is_known(network: FusionModel) -> bool:
    """Return whether the authors' order of operations is known of a model: it is of EH-DRAN's parts."""
    from fusekit_ehdran import reference

    return reference.is_known(network)


def published(network: FusionModel, choices: Choices) -> FusionModel:
    """Return the model, changed in place to run the authors' order of operations.

    Memory that is to be kept is kept by the whole process, and from then on.
    """
    from fusekit_ehdran import reference

    if choices.keeps_freed_memory:
        keep_freed_memory()
    return reference.published(network, channels_last=choices.channels_last)


def published_rule(rule: FusionRule | None, choices: Choices) -> FusionRule | None:
    """Return a rule as the authors' code computes it; rules that are not theirs stay as they are."""
    from fusekit_ehdran import reference

    if choices.decomposition_threads is None:
        return reference.published_rule(rule, contextlib.nullcontext)
    return reference.published_rule(rule, functools.partial(torch_threads, choices.decomposition_threads))


def choose(network: FusionModel, rule: FusionRule | None, sources: Sequence[Tensor]) -> Choices:
    """Return the faster choices for these sources (B, 1, H, W), by the better of two rounds each.

    On a CPU the allocator is set before, for the whole process.

    Args:
        network: in evaluation mode; afterwards it is as `published` leaves it.
        rule: of the race.
        sources: of the race.
    """
    keeps = sources[0].device.type == "cpu" and keep_freed_memory()
    if not isinstance(network, EncoderDecoder):
        return Choices(False, torch.get_num_threads(), keeps)
    stopwatch, part = Stopwatch(sources[0].device), sources[0][:1, :, :_TRIAL_SIDE, :_TRIAL_SIDE]
    with torch.inference_mode():
        layouts: dict[bool, list[float]] = {False: [], True: []}
        for channels_last in (False, True, False, True):
            published(network, Choices(channels_last))
            if not layouts[channels_last]:
                network.reconstruct(part)
            layouts[channels_last].append(stopwatch.time(lambda: network.reconstruct(part)).seconds)
        channels_last = min(layouts[True]) < min(layouts[False])
        threads = torch.get_num_threads()
        if published_rule(rule, Choices()) is not rule and threads > 1:
            threads = _decomposition_threads(network.encode(sources[0][:1]), stopwatch)
    return Choices(channels_last, threads, keeps)


def _decomposition_threads(features: Tensor, stopwatch: Stopwatch) -> int:
    """Return whether one thread or all of torch's decompose some channels of (B, C, H, W) faster."""
    counts = (1, torch.get_num_threads())
    matrices = features[0].float().softmax(dim=0)[:_TRIAL_CHANNELS].contiguous()
    seconds: dict[int, list[float]] = {count: [] for count in counts}

    def decompose() -> None:
        for matrix in matrices:
            torch.linalg.svdvals(matrix)

    for count in (*counts, *counts):
        with torch_threads(count):
            seconds[count].append(stopwatch.time(decompose).seconds)
    return min(counts, key=lambda count: min(seconds[count]))
