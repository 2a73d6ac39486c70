"""How cores and memory are shared out among calls of a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fusekit.errors import OptionError
from fusekit.machine.memory import available_bytes

#: What a network holds for each pixel of each source while it runs, at most: some maps of 64 channels in float32.
BYTES_PER_PIXEL = 2048
#: Pixels of all sources in one call of the network; on a CPU more of them gain nothing.
_TOGETHER = {"cpu": 1 << 13, "cuda": 1 << 22}
#: More calls at once than this have Python's lock to wait for.
_MOST_AT_ONCE = 8


@dataclass(frozen=True)
class Shares:
    """How the machine is shared out.

    Attributes:
        cores: threads that torch may use in all.
        at_once: calls of the network that run at the same time, at most.
        together: pixels of all sources in one call, at most; a set that has more is a call of its own.
        budget: pixels of all sources in all calls; a call that alone has more runs alone.
        movers: threads that read, and as many that write.
    """

    cores: int
    at_once: int
    together: int
    budget: int
    movers: int = 2

    @classmethod
    def of(cls, device: torch.device, workers: int | None = None) -> Shares:
        """Return what suits a device; ``workers`` overrules how many calls run at once.

        Raises:
            OptionError: fewer than one worker.
        """
        if workers is not None and workers < 1:
            raise OptionError(f"{workers} workers cannot fuse; choose 1 or more")
        cores, together = torch.get_num_threads(), _TOGETHER[device.type]
        if device.type == "cuda":
            budget = torch.cuda.mem_get_info(device)[0] // 2 // BYTES_PER_PIXEL
            return cls(cores, workers or 1, together, budget, max(2, min(cores // 2, 8)))
        return cls(cores, workers or min(cores, _MOST_AT_ONCE), together, available_bytes() // 2 // BYTES_PER_PIXEL)

    def threads(self, pixels: int, calls: int | None = None) -> int:
        """Return how many threads each of some calls gets where all have this many pixels; by default of many calls."""
        fitting = min(self.at_once, self.budget // pixels, calls or self.at_once)
        return max(self.cores // max(fitting, 1), 1)
