"""How much memory ``fusekit fuse`` takes for a large pair, each run in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fusekit
from fusekit.errors import InputError, OptionError, size_text
from fusekit.images.files import read_image, write_image
from fusekit.images.image import from_pixels
from fusekit.machine.devices import processor_name
from fusekit.version import code_version
from fusekit_bench.metric_speed import sample_images

#: Bytes in a unit of the peak that the system reports.
_UNIT = 1 if sys.platform == "darwin" else 1024
#: Runs a command and prints its exit code and peak. A process counts what its parent held when it was started, so the
#: parent must be small.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
status, usage = os.wait4(process.pid, 0)[1:]
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def measure_memory(
    size: int,
    *,
    model: str = "ehdran",
    rules: Sequence[str | None] = (None,),
    tile: str = "auto",
    memory: str | None = None,
    device: str = "auto",
    images: Sequence[Path] = (),
) -> dict[str, Any]:
    """Run ``fusekit fuse`` once for each rule and take the peaks of the processes' resident memory.

    Args:
        size: side of the pair, the embedded sample mirrored on.
        model: as ``--model`` of ``fusekit fuse``.
        rules: of the model; ``None`` for its default.
        tile: as ``--tile``.
        memory: as ``--memory``.
        device: as ``--device``.
        images: files to fuse instead of the sample.

    Returns:
        JSON-able: machine, versions, size, the peak of a process that only imports torch, and a row a rule with its
        peak in bytes, seconds, and what the record says of tiles and of the rule.

    Raises:
        InputError: one of the runs failed; the message is the command's own.
        OptionError: the system reports no peaks, or ``size`` is too small.
    """
    if not hasattr(os, "wait4"):
        raise OptionError(f"{platform.system()} does not report the peak of a process; run this on Linux or macOS")
    with tempfile.TemporaryDirectory(prefix="fusekit-memory-") as folder:
        sources = [Path(path).absolute() for path in images] or _write_pair(Path(folder), size)
        rows = [_measured(sources, Path(folder), rule, model, tile, memory, device) for rule in rules]
        alone = _run([sys.executable, "-c", "import torch"])[0]
    return {
        "version": fusekit.__version__,
        "code": code_version(),
        "torch": str(torch.__version__),
        "processor": processor_name(),
        "size": list(read_image(images[0]).size) if images else [size, size],
        "sources": len(sources),
        "images": "given" if images else "the embedded sample",
        "model": model,
        "torch_alone": alone,
        "runs": rows,
    }


def _write_pair(folder: Path, size: int) -> list[Path]:
    paths = [folder / "a.png", folder / "b.png"]
    for path, image in zip(paths, sample_images(size), strict=False):
        write_image(path, from_pixels(np.rint(image[0, 0].numpy() * 255).astype(np.uint8)))
    return paths


def _measured(
    sources: Sequence[Path], folder: Path, rule: str | None, model: str, tile: str, memory: str | None, device: str
) -> dict[str, Any]:
    """Fuse in a process of its own and return its row."""
    output = folder / "fused.png"
    command = [sys.executable, "-m", "fusekit", "fuse", *map(str, sources), "-o", str(output), "--model", model]
    command += ["--tile", tile, "--device", device, "--bit-depth", "8"]
    command += ["--rule", rule] if rule else []
    command += ["--memory", memory] if memory else []
    peak, seconds = _run(command)
    record = json.loads((folder / "fused.png.json").read_text(encoding="utf-8"))
    return {
        "rule": record["rule"]["name"] if record["rule"] else None,
        "peak": peak,
        "seconds": seconds,
        "device": record["device"],
        "dtype": record["dtype"],
        "form": record["form"],
        "tiles": record["tiles"],
        "rule_report": record["rule_report"],
    }


def _run(command: Sequence[str]) -> tuple[int, float]:
    """Run a command and return the peak of its resident memory in bytes and its seconds.

    Raises:
        InputError: it failed.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    code, peak = (int(each) for each in done.stdout.split())
    if code:
        said = done.stderr.strip().splitlines()
        reason = said[-1].removeprefix("fusekit: error: ") if said else f"exit code {code}"
        raise InputError(f"the measured command failed: {reason}")
    return peak * _UNIT, seconds


def markdown(found: Mapping[str, Any]) -> str:
    """Return the peaks as a Markdown table with what they were taken on."""
    lines = [
        f"`{found['model']}`, {found['sources']} images of {size_text(found['size'])} pixels ({found['images']}), "
        f"{found['processor']}, torch {found['torch']}, fusekit {found['version']}, code `{found['code']}`. "
        f"A process that only imports torch: {_gibibytes(found['torch_alone'])} GiB.",
        "",
        "| rule | peak of the process (GiB) | tiles | passes | norms | channels decomposed | seconds | device, dtype |",
        "|---|--:|---|--:|---|--:|--:|---|",
    ]
    for row in found["runs"]:
        tiles, report = row["tiles"] or {}, row["rule_report"] or {}
        cut = f"{tiles['number']} of {size_text(tiles['side'])}" if "number" in tiles else tiles.get("note", "none")
        decomposed = " + ".join(str(sum(source)) for source in report.get("decomposed_channels") or [])
        cells = [row["rule"] or "", _gibibytes(row["peak"]), cut, tiles.get("passes", 1), report.get("norms", "")]
        cells += [decomposed, f"{row['seconds']:.0f}", f"{row['device']}, {row['dtype']}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.2f}"
