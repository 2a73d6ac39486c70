"""Settings of kernels: the shapes of tiles and the numbers of warps and stages, from a table that is committed.

The table is keyed by kernel, dtype and compute capability; ``python -m fusekit_ehdran.kernels.check --tune`` measures
candidates on a GPU and prints a table anew. What no entry names takes that of the nearest earlier capability.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch


class Setting(NamedTuple):
    """How one kernel is compiled and launched.

    Attributes:
        height, width: of a tile in pixels, both even powers of two.
        warps: of a program.
        stages: how many steps ahead a loop of matrix products loads.
    """

    height: int
    width: int
    warps: int
    stages: int

    @property
    def pixels(self) -> int:
        """Pixels of a tile."""
        return self.height * self.width

    def programs(self, batch: int, height: int, width: int) -> int:
        """Return how many tiles cover a batch of images."""
        return batch * -(-height // self.height) * -(-width // self.width)

    def constants(self) -> dict[str, int]:
        """Return the tile as arguments of a kernel."""
        return {"TILE_HEIGHT": self.height, "TILE_WIDTH": self.width}

    def options(self) -> dict[str, Any]:
        """Return warps and stages as options of compiling and launching."""
        # Fused multiply-adds are named because Triton is about to change its default.
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}


#: By kernel, then by dtype and compute capability: (major · 10 + minor).
TABLE: dict[str, dict[tuple[str, int], Setting]] = {
    "multiscale": {
        ("bfloat16", 80): Setting(8, 8, 4, 2),
        ("float32", 80): Setting(8, 8, 8, 2),
    },
    "shared": {
        ("bfloat16", 80): Setting(8, 16, 4, 3),
        ("bfloat16", 90): Setting(8, 16, 4, 3),
        ("float32", 80): Setting(8, 8, 8, 2),
    },
    "attend": {
        ("bfloat16", 80): Setting(8, 16, 8, 3),
        ("bfloat16", 90): Setting(8, 16, 8, 3),
        ("float32", 80): Setting(8, 8, 8, 2),
    },
    "edges": {
        ("bfloat16", 80): Setting(8, 16, 8, 3),
        ("bfloat16", 90): Setting(8, 16, 8, 2),
        ("float32", 80): Setting(8, 8, 8, 2),
        ("float32", 90): Setting(4, 8, 8, 2),
    },
    "blend": {
        ("bfloat16", 80): Setting(8, 16, 8, 3),
        ("bfloat16", 90): Setting(8, 16, 8, 3),
        ("float32", 80): Setting(4, 8, 8, 2),
        ("float32", 90): Setting(8, 8, 8, 2),
    },
    "convolve": {
        ("bfloat16", 80): Setting(8, 16, 4, 3),
        ("bfloat16", 90): Setting(16, 16, 8, 2),
        ("float32", 80): Setting(4, 8, 8, 2),
    },
    "taps": {
        ("bfloat16", 80): Setting(8, 16, 4, 2),
        ("bfloat16", 90): Setting(16, 16, 8, 2),
        ("float32", 80): Setting(8, 8, 8, 2),
    },
    "sum_taps": {
        ("bfloat16", 80): Setting(4, 128, 4, 1),
        ("float32", 80): Setting(4, 128, 4, 1),
    },
    "shares": {
        ("bfloat16", 80): Setting(8, 8, 8, 2),
        ("float32", 80): Setting(8, 8, 8, 2),
    },
}

#: What the check command tries.
CANDIDATES = tuple(
    Setting(height, width, warps, stages)
    for height, width in ((4, 8), (8, 8), (8, 16), (16, 16))
    for warps in (4, 8)
    for stages in (2, 3, 4)
)

_forced: dict[str, Setting] = {}


def setting(kernel: str, dtype: torch.dtype, device: torch.device | None = None) -> Setting:
    """Return the setting of a kernel in a dtype on a device; the interpreter on the CPU takes the oldest GPU's."""
    if kernel in _forced:
        return _forced[kernel]
    if device is None or device.type != "cuda":
        return lookup(TABLE[kernel], dtype, 80)
    major, minor = torch.cuda.get_device_capability(device)
    return lookup(TABLE[kernel], dtype, 10 * major + minor)


def lookup(entries: Mapping[tuple[str, int], Setting], dtype: torch.dtype, capability: int) -> Setting:
    """Return the entry of ``dtype`` for the greatest capability that is not above ``capability``.

    Raises:
        KeyError: there is none.
    """
    name = str(dtype).removeprefix("torch.")
    fitting = [each for each in entries if each[0] == name and each[1] <= capability]
    if not fitting:
        raise KeyError(f"no setting for {name} on compute capability {capability / 10:.1f}")
    return entries[max(fitting, key=lambda each: each[1])]


@contextlib.contextmanager
def forced(kernel: str, chosen: Setting) -> Iterator[None]:
    """Within the context, let ``kernel`` run with ``chosen``."""
    before = _forced.get(kernel)
    _forced[kernel] = chosen
    try:
        yield
    finally:
        del _forced[kernel]
        if before is not None:
            _forced[kernel] = before
