"""What the check command times on a GPU: methods to run the model, launches, and settings of kernels measured anew.

Times are medians of rounds in which everything is run once, so that a slow moment harms all alike.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.fast import algebra
from fusekit_ehdran.fast.form import InferenceForm
from fusekit_ehdran.kernels.check.cases import Case, cases
from fusekit_ehdran.kernels.check.report import name_of
from fusekit_ehdran.kernels.form import TritonDecoder, TritonEncoder, TritonForm
from fusekit_ehdran.kernels.norms import greatest_nuclear_norms
from fusekit_ehdran.kernels.settings import CANDIDATES, Setting, forced, setting
from fusekit_ehdran.kernels.softmax_statistics import share_statistics

#: Runs before the first that counts: they compile, record graphs and warm the caches up.
WARM_UP = 3
#: Batch and side that settings are chosen on: enough tiles to fill any GPU.
_TUNED_ON = (8, 256)

Method = Callable[[Tensor, Tensor], Tensor]


def medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float | None]:
    """Return the median of each run's seconds on the current CUDA device, ``None`` for one that raises."""
    able = {name: run for name, run in runs.items() if _warms_up(name, run)}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, run in able.items():
            times[name].append(_seconds(run))
    return {name: statistics.median(times[name]) if name in times else None for name in runs}


def _warms_up(name: str, run: Callable[[], object]) -> bool:
    try:
        for _ in range(WARM_UP):
            run()
        torch.cuda.synchronize()
    # Compilers and drivers raise errors of their own kinds.
    except Exception as error:
        print(f"fusekit: {name} cannot run: {error}", file=sys.stderr)
        return False
    return True


def _seconds(run: Callable[[], object]) -> float:
    """Return the seconds between two events on the GPU, before and after the launches of a run."""
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    before.record()
    run()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3


def methods(device: torch.device, dtype: torch.dtype) -> dict[str, Method]:
    """Return by name what fuses two sources (B, 1, H, W) by the mean of their features, the same function all but one.

    ``eager`` is the plain modules, ``compiled`` torch.compile's form of them, ``compiled, composed`` that of the same
    function in the cheaper order of operations (`fusekit_ehdran.fast.algebra`), ``composed`` the inference form in
    torch. ``triton, rule sfnn`` weighs the sources by their nuclear norms instead, and blends them in the decoder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        encoder, decoder = DilatedResidualAttention(), Decoder()
    model = nn.ModuleList([encoder, decoder]).eval().to(device, dtype)
    # Torch's stubs of `to` leave the memory format out.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def cheaper(x: Tensor) -> Tensor:
        return algebra.encode(encoder, x)

    return {
        "eager": _method(encoder, decoder),
        "compiled": torch.compile(_method(encoder, decoder)),
        "compiled, composed": torch.compile(_method(cheaper, decoder)),
        "composed": _method_of(InferenceForm(encoder, decoder)),
        "triton": _method_of(TritonForm(encoder, decoder, graphs=False)),
        "triton, CUDA graphs": _method_of(TritonForm(encoder, decoder, graphs=True)),
        "triton, rule sfnn": _by_sfnn(TritonEncoder(encoder, dtype, "ieee"), TritonDecoder(decoder, dtype, "ieee")),
    }


def _method_of(form: InferenceForm) -> Method:
    return _method(form.encoder, form.decoder)


def _by_sfnn(encode: TritonEncoder, decode: TritonDecoder) -> Method:
    def fuse(first: Tensor, second: Tensor) -> Tensor:
        features = encode(torch.cat([first, second]))
        squares = greatest_nuclear_norms(features, share_statistics)[0].square().view(2, -1, 1)
        return decode(features, squares / squares.sum(0))

    return fuse


def _method(encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> Method:
    def fuse(first: Tensor, second: Tensor) -> Tensor:
        one, other = encode(torch.cat([first, second])).chunk(2)
        return decode((one + other) / 2)

    return fuse


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
