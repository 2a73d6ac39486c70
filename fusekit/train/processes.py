"""One process or several: who this one is, and means over all of them.

Several processes come from ``accelerate launch`` (or ``torchrun``), which say so in the environment; without them
nothing of accelerate is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusekit.errors import DeviceError, MissingExtraError
from fusekit.machine.devices import resolve_device


@dataclass(frozen=True)
class Processes:
    """This process among those of one training.

    Attributes:
        device: where this one computes.
        index: 0 for the main one, which alone writes.
        count: how many there are.
    """

    device: torch.device
    index: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.index == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its mean over the processes; all must be float32 and on `device`."""
        if self.count == 1 or not tensors:
            return
        from accelerate.utils import reduce

        # One message for all: the network's delay counts once, not once a tensor.
        flat = reduce(torch.cat([tensor.detach().reshape(-1) for tensor in tensors]), "mean")
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(mean.view(tensor.shape))

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def find_processes(device: str = "auto") -> Processes:
    """Return this process, as the launcher made it.

    Args:
        device: as in `fusekit.load`; with several processes ``auto`` or ``cuda`` gives each its own GPU.

    Raises:
        MissingExtraError: there are several processes, and accelerate is not installed.
        DeviceError: there are several processes, and one GPU is named for all of them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(resolve_device(device))
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtraError(
            "training in several processes needs accelerate; install it: pip install 'fusekit-imaging[train]'"
        ) from error
    chosen: torch.device = resolve_device(device)
    index: int | None = chosen.index
    if index is not None:
        raise DeviceError(
            f"several processes cannot all train on {device!r}; leave --device out, and each takes its own"
        )
    state = PartialState(cpu=chosen.type == "cpu")
    return Processes(
        torch.device("cpu") if chosen.type == "cpu" else state.device, state.process_index, state.num_processes
    )
