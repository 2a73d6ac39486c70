"""Settings measured anew on the GPU that is there, printed as the table of `fusekit_ehdran.kernels.settings`."""

from __future__ import annotations

import torch

from fusekit_ehdran.kernels.cases import Case, cases
from fusekit_ehdran.kernels.report import name_of
from fusekit_ehdran.kernels.settings import CANDIDATES, Setting, forced, setting
from fusekit_ehdran.kernels.timing import medians

#: Batch and side that settings are chosen on: enough tiles to fill any GPU.
_TUNED_ON = (8, 256)


def tune(device: torch.device, rounds: int) -> str:
    """Return as Python the fastest setting of each kernel in each dtype on a device, and what the others took."""
    major, minor = torch.cuda.get_device_capability(device)
    lines = [f"# {torch.cuda.get_device_name(device)}, compute capability {major}.{minor}"]
    batch, side = _TUNED_ON
    for dtype in (torch.bfloat16, torch.float32):
        done: set[str] = set()
        for case in cases(device, dtype, batch, side, side):
            if case.kernel in done:
                continue
            done.add(case.kernel)
            timed = measure(case, setting(case.kernel, dtype, device), rounds)
            best = min(timed, key=lambda each: timed[each])
            lines.append(entry(case.kernel, name_of(dtype), 10 * major + minor, best, timed))
    return "\n".join(lines)


def measure(case: Case, present: Setting, rounds: int) -> dict[Setting, float]:
    """Return the median seconds of a case by setting, those that cannot run left out; the present one among them."""
    found: dict[Setting, float] = {}
    for candidate in dict.fromkeys((present, *CANDIDATES)):
        with forced(case.kernel, candidate):
            name = f"{case.kernel} with {tuple(candidate)}"
            seconds = medians({name: case.again or case.run}, rounds)[name]
        if seconds is not None:
            found[candidate] = seconds
    return found


def entry(kernel: str, dtype: str, capability: int, best: Setting, timed: dict[Setting, float]) -> str:
    """Return a line of the table, with the times of the best setting and of the one that was tried first."""
    first = next(iter(timed))
    return (
        f'"{kernel}": ("{dtype}", {capability}): Setting({", ".join(map(str, best))}),'
        f"  # {timed[best] * 1e6:.1f} µs; {timed[first] * 1e6:.1f} µs with {tuple(first)}; {len(timed)} tried"
    )
