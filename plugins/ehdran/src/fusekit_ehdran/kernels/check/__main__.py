"""Check and time the kernels on a GPU in one command: ``python -m fusekit_ehdran.kernels.check``.

Prints a report in markdown: every launch against its torch twin in float32 and bfloat16, its time beside the least
time that the published rates of the GPU allow, and the whole model beside torch's own methods to run it. With
``--interpret`` it checks on the CPU, without times; with ``--tune`` it measures other settings of each kernel and
prints the table of `fusekit_ehdran.kernels.settings` anew. Exit code 1: a kernel is wrong; 2: it cannot run here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from fusekit.extend import FusekitError, OutputError, triton_refusal, write_text_atomically
from fusekit_ehdran.kernels.check import report

#: Batch, height and width where kernels are compared with their twins: blocks cut off, tiny, several images and tiles.
CHECKED = ((1, 2, 2), (2, 3, 5), (1, 33, 50), (3, 64, 64), (1, 257, 255))
#: What the interpreter takes seconds for, not minutes.
INTERPRETED = ((1, 2, 2), (2, 3, 5), (1, 9, 17))
#: Batch and side of images that are timed.
TIMED = ((1, 256), (32, 256), (1, 1024))
_DTYPES = (torch.float32, torch.bfloat16)


def compare(device: torch.device, shapes: Sequence[tuple[int, int, int]]) -> Iterator[report.Compared]:
    """Compare every launch with its twin on every shape in both dtypes."""
    from fusekit_ehdran.kernels.check.cases import cases
    from fusekit_ehdran.kernels.trials import TOLERANCES

    for dtype in _DTYPES:
        for shape in shapes:
            for case in cases(device, dtype, *shape):
                yield report.Compared(case.name, report.name_of(dtype), shape, case.error(), TOLERANCES[dtype])


def time_launches(device: torch.device, rounds: int) -> Iterator[report.Timed]:
    """Time every launch on every size in both dtypes; float32 in exact products and in three of tensor cores."""
    from fusekit_ehdran.kernels.check.cases import cases
    from fusekit_ehdran.kernels.check.timing import medians

    for dtype, precision in ((torch.bfloat16, "ieee"), (torch.float32, "ieee"), (torch.float32, "tf32x3")):
        for batch, side in TIMED:
            for case in cases(device, dtype, batch, side, side, precision):
                seconds = medians({case.name: case.again or case.run}, rounds)[case.name]
                yield report.Timed(case.name, report.name_of(dtype), precision, batch, side, seconds)


def time_models(device: torch.device, rounds: int) -> Iterator[report.Timed]:
    """Time encoding two sources, their mean and decoding, by all the methods to run the model, round by round."""
    from fusekit_ehdran.kernels.check.timing import medians, methods

    for dtype in (torch.bfloat16, torch.float32):
        runs = methods(device, dtype)
        for batch, side in TIMED:
            generator = torch.Generator().manual_seed(5)
            pair = [torch.rand((batch, 1, side, side), generator=generator).to(device, dtype) for _ in range(2)]
            with torch.inference_mode():
                found = medians({name: partial(run, *pair) for name, run in runs.items()}, rounds)
            for name, seconds in found.items():
                yield report.Timed(name, report.name_of(dtype), "ieee", batch, side, seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m fusekit_ehdran.kernels.check", description=__doc__)
    parser.add_argument("--interpret", action="store_true", help="check on the CPU by Triton's interpreter; no times")
    parser.add_argument("--tune", action="store_true", help="measure other settings and print a new table")
    parser.add_argument("--rounds", type=int, default=30, help="of each time; the median counts (default 30)")
    parser.add_argument("--markdown", type=Path, help="write the report here as well")
    options = parser.parse_args(arguments)
    if options.interpret:
        os.environ["TRITON_INTERPRET"] = "1"
    refusal: str | None = "there is no CUDA device; --interpret checks them on the CPU, without times"
    device = torch.device("cpu" if options.interpret else "cuda")
    if options.interpret or torch.cuda.is_available():
        refusal = triton_refusal(device, torch.bfloat16)
    if refusal is not None:
        print(f"fusekit: the kernels cannot be checked here: {refusal}", file=sys.stderr)
        return 2
    # The twins are float32, not the TensorFloat32 that convolutions use by default.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if options.tune:
        from fusekit_ehdran.kernels.check.timing import tune

        print(tune(device, options.rounds))
        return 0
    try:
        if options.markdown is not None and options.markdown.exists():
            raise OutputError(f"cannot write {options.markdown}: it is there already; name another file")
        return _report(device, options.interpret, options.rounds, options.markdown)
    except FusekitError as error:
        print(f"fusekit: {error}", file=sys.stderr)
        return 2


def _report(device: torch.device, interpret: bool, rounds: int, markdown: Path | None) -> int:
    compared = list(compare(device, INTERPRETED if interpret else CHECKED))
    wrong = [each for each in compared if not each.passes]
    sections = [report.heading(device), report.comparison(compared)]
    if not interpret and not wrong:
        name = torch.cuda.get_device_name(device)
        sections.append(report.launches(list(time_launches(device, rounds)), name))
        sections.append(report.models(list(time_models(device, rounds)), name))
    text = "\n\n".join(sections)
    print(text)
    if markdown is not None:
        write_text_atomically(markdown, text + "\n")
    for each in wrong:
        print(f"fusekit: {each.launch} in {each.dtype} on {each.shape} is off by {each.error:.1e}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
