"""Compile every kernel ahead of time, without a GPU: ``python -m fusekit_ehdran.kernels.check.build``.

Prints a table in markdown: registers a thread, bytes spilled to the stack and shared memory of each kernel in each
dtype for compute capabilities 8.0 (A100) and 9.0 (H100, H200), with the settings of the committed table.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from fusekit.extend import FusekitError, OptionError, interprets
from fusekit_ehdran.kernels.settings import TABLE, Setting, lookup

if TYPE_CHECKING:
    from fusekit_ehdran.kernels.check.variants import Variant

CAPABILITIES = (80, 90)
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Built(NamedTuple):
    """What one compiled kernel needs.

    Attributes:
        kernel, dtype, capability, setting: what was compiled.
        registers: of a thread.
        spilled: bytes of a thread's stack, which is where values go that do not fit in registers.
        shared: bytes of shared memory of a program.
        products: names of the instructions that multiply matrices, ``fma`` where there are none.
    """

    kernel: str
    dtype: str
    capability: int
    setting: Setting
    registers: int
    spilled: int
    shared: int
    products: str


def build_all(kernels: Sequence[str] | None = None, capabilities: Sequence[int] = CAPABILITIES) -> Iterator[Built]:
    """Compile and measure every kernel, or those named, in every dtype of its settings.

    Raises:
        FusekitError: triton is not there, or interprets.
    """
    _check_compiler()
    from fusekit_ehdran.kernels.check.variants import VARIANTS

    for variant in VARIANTS:
        if kernels and variant.kernel not in kernels:
            continue
        for dtype, torch_dtype in _DTYPES.items():
            entries = TABLE[variant.kernel]
            if not any(name == str(torch_dtype).removeprefix("torch.") for name, _ in entries):
                continue
            for capability in capabilities:
                yield build(variant, dtype, capability, lookup(entries, torch_dtype, capability))


def build(variant: Variant, dtype: str, capability: int, setting: Setting) -> Built:
    """Compile one kernel for a compute capability and return what it needs."""
    import triton
    from triton.backends.compiler import GPUTarget

    source = triton.compiler.ASTSource(
        variant.function,
        signature=variant.signature(dtype),
        constexprs={**variant.constants, **setting.constants()},
        attrs=variant.aligned(),
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=setting.options())
    registers, spilled = _resources(compiled.asm["cubin"])
    products = _products(compiled.asm["ptx"])
    return Built(variant.kernel, dtype, capability, setting, registers, spilled, compiled.metadata.shared, products)


def _check_compiler() -> None:
    if importlib.util.find_spec("triton") is None:
        raise FusekitError("triton is not installed; run: pip install 'fusekit-imaging[triton]' (Linux)")
    if interprets():
        raise OptionError("TRITON_INTERPRET is set, and what is interpreted is not compiled; unset it")


def _resources(cubin: bytes) -> tuple[int, int]:
    """Return registers and bytes of stack of a thread, as NVIDIA's tool reads them in the machine code."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tool), "--dump-resource-usage", str(path)]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return _number("REG", report), _number("STACK", report)


def _products(ptx: str) -> str:
    found = sorted(set(re.findall(r"\b(wgmma|mma)\.\w", ptx)))
    return ", ".join(found) or "fma"


def _number(name: str, report: str) -> int:
    match = re.search(rf"\b{name}:(\d+)", report)
    if match is None:
        raise FusekitError(f"the tool cuobjdump of triton does not say {name}:\n{report}")
    return int(match[1])


def table(rows: Sequence[Built]) -> str:
    """Return the table in markdown."""
    lines = [
        f"Compiled by triton {version('triton')}.",
        "",
        "| kernel | dtype | capability | tile | warps | stages | registers | spilled, bytes | shared, KiB | products |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        tile = f"{row.setting.height} × {row.setting.width}"
        cells: list[Any] = [row.kernel, row.dtype, f"{row.capability / 10:.1f}", tile]
        cells += [row.setting.warps, row.setting.stages, row.registers, row.spilled]
        cells += [f"{row.shared / 1024:.1f}", row.products]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 where a kernel spills, 2 where nothing can be compiled."""
    parser = argparse.ArgumentParser(prog="python -m fusekit_ehdran.kernels.check.build", description=__doc__)
    parser.add_argument("--kernel", action="append", choices=sorted(TABLE), help="only this one; may be repeated")
    parser.add_argument("--capability", action="append", type=int, help="such as 90; may be repeated")
    options = parser.parse_args(arguments)
    try:
        rows = list(build_all(options.kernel, options.capability or CAPABILITIES))
    except FusekitError as error:
        print(f"fusekit: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    return 1 if any(row.spilled for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
