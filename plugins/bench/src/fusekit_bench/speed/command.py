"""What ``fusekit fuse`` costs as a whole process: its time beside ``import torch`` and one fuse, and its peak memory.

``python -m fusekit_bench.speed.command MODEL A B OUT`` is a process that fuses once and prints the seconds of its
parts.
"""

from __future__ import annotations

import sys
import time

_BORN = time.perf_counter()

# What follows is what is timed, so it is imported one part after the other.
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from fusekit_bench import requests
    from fusekit_bench.publish import Result

_FUSEKIT = "from fusekit.cli.main import run; run()"
#: Parts of the process in order, and what they are.
PARTS = {
    "torch": "import of torch",
    "fusekit": "import of fusekit and what else it needs",
    "load": "plugins, network, weights and their digest",
    "read": "first reading, with the imports of decoders",
    "fuse": "first fuse, which composes the inference form",
    "write": "writing image and record",
}
#: Runs a command and prints its exit code and peak. A process counts what its parent held when it was started, so the
#: parent must be small.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
status, usage = os.wait4(process.pid, 0)[1:]
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def run_fusekit(*words: str) -> str:
    """Run the command ``fusekit`` as a process of its own, as a shell does, and return what it prints.

    Raises:
        InputError: it fails; the message is its last line.
    """
    return _python("-c", _FUSEKIT, *words)


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise _failed(done.stderr, done.returncode)
    return done.stdout


def _failed(said: str, code: int) -> Exception:
    from fusekit.errors import InputError

    lines = said.strip().splitlines()
    reason = lines[-1].removeprefix("fusekit: error: ") if lines else f"exit code {code}"
    return InputError(f"the measured command failed: {reason}")


# --- time --------------------------------------------------------------------------------------------------------


def measure(request: requests.Shell, command: str, progress: Callable[[], None] = lambda: None) -> Result:
    """Time whole processes and fuses of a loaded model round by round, on the embedded CT and MRI.

    Args:
        request: what to time.
        command: by which, for the text.
        progress: called after each round.

    Returns:
        machine and versions, ``seconds`` of each round of ``torch``, ``fuse`` and ``shell``, ``ratio`` of the last to
        the sum of the other two with its quartiles, and ``parts``, medians in a process of their own.

    Raises:
        FusekitError: no such model, or a size that is too small.
    """
    import torch

    import fusekit
    from fusekit.images.files import write_image
    from fusekit.models.describe import machine
    from fusekit_bench import publish
    from fusekit_bench.speed.cases import pair
    from fusekit_bench.speed.race import ratios, spread

    busy_before, loaded = publish.load_average(), fusekit.load(request.model)
    parts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="fusekit-bench-") as name:
        sources, output = [f"{name}/a.png", f"{name}/b.png"], f"{name}/fused.png"
        for path, image in zip(sources, pair(None, request.size), strict=True):
            write_image(Path(path), image)
        work: dict[str, Callable[[], object]] = {
            "torch": lambda: _python("-c", "import torch"),
            "fuse": lambda: fusekit.fuse(sources, loaded).save(output, overwrite=True),
            "shell": lambda: run_fusekit("fuse", *sources, "-o", output, "--overwrite", "--model", request.model),
        }
        seconds: dict[str, list[float]] = {each: [] for each in work}
        work["fuse"]()
        for _ in range(request.repeats):
            for each, once in work.items():
                seconds[each].append(_timed(once))
            told = _python("-m", "fusekit_bench.speed.command", request.model, *sources, output)
            parts.append(json.loads(told))
            progress()
    both = [base + fuse for base, fuse in zip(seconds["torch"], seconds["fuse"], strict=True)]
    found = {
        **publish.facts(),
        "machine": machine(loaded),
        "threads": torch.get_num_threads(),
        "load_average": busy_before,
        "model": request.model,
        "size": list(request.size),
        "seconds": seconds,
        "ratio": spread(ratios(seconds["shell"], both)),
        "parts": {part: statistics.median(each[part] for each in parts) for part in PARTS},
    }
    rows = [
        {"what": name, "round": number, "seconds": s}
        for name, those in seconds.items()
        for number, s in enumerate(those)
    ]
    return publish.Result(found, _markdown(found, command), rows)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _parts(model: str, first: str, second: str, output: str) -> dict[str, float]:
    """Fuse once in this process and return the seconds of each of `PARTS`."""
    from fusekit.cli.start import uncollected, wait_passively

    wait_passively()
    marks = [_BORN]

    def mark() -> None:
        marks.append(time.perf_counter())

    with uncollected():
        import torch  # noqa: F401

        mark()
        from fusekit import pipeline
        from fusekit.models.load import load

        mark()
        loaded = load(model)
        mark()
        fused = pipeline.fuse([first, second], loaded)
        fused.save(output, overwrite=True)
        mark()
    began, imported, ready, loaded_at, written = marks
    seconds = fused.record["seconds"]
    return {
        "torch": imported - began,
        "fusekit": ready - imported,
        "load": loaded_at - ready,
        "read": seconds["read"],
        "fuse": seconds["fuse"],
        "write": written - loaded_at - seconds["read"] - seconds["fuse"],
    }


def _markdown(found: Mapping[str, Any], command: str) -> str:
    from fusekit_bench.publish import on, table

    height, width = found["size"]
    seconds, ratio = {name: statistics.median(those) for name, those in found["seconds"].items()}, found["ratio"]
    rows = [
        ["`python -c 'import torch'`", f"{seconds['torch']:.3f}"],
        ["one fuse of a loaded model, files included", f"{seconds['fuse']:.3f}"],
        ["`fusekit fuse`, the whole process", f"{seconds['shell']:.3f}"],
        ["times the sum of the first two", f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"],
    ]
    parts = [[text, f"{found['parts'][part]:.3f}"] for part, text in PARTS.items()]
    rounds = len(found["seconds"]["shell"])
    lines = [f"`{command}`: a {height}×{width} pair, {found['model']}, {on(found)}. Medians of {rounds} rounds.", ""]
    lines += [*table(["", "seconds"], rows, "lr"), "", *table(["part of such a process", "seconds"], parts, "lr")]
    return "\n".join(lines)


# --- memory ------------------------------------------------------------------------------------------------------


def measure_memory(request: requests.Memory) -> Result:
    """Run ``fusekit fuse`` once for each rule and take the peaks of the processes' resident memory.

    Returns:
        machine, versions, size, the peak of a process that only imports torch, and a row a rule with its peak in
        bytes, seconds, and what the record says of tiles and of the rule.

    Raises:
        InputError: one of the runs failed; the message is the command's own.
        OptionError: the system reports no peaks, or the size is too small.
    """
    import numpy as np

    from fusekit.errors import OptionError
    from fusekit.images.files import read_image, write_image
    from fusekit.images.image import from_pixels
    from fusekit.machine.devices import processor_name
    from fusekit_bench.publish import Result, facts
    from fusekit_bench.speed.metrics import sample_images

    if not hasattr(os, "wait4"):
        raise OptionError(f"{platform.system()} does not report the peak of a process; run this on Linux or macOS")
    with tempfile.TemporaryDirectory(prefix="fusekit-memory-") as name:
        folder = Path(name)
        sources = [Path(path).absolute() for path in request.images]
        if not sources:
            sources = [folder / "a.png", folder / "b.png"]
            for path, image in zip(sources, sample_images(request.size), strict=False):
                write_image(path, from_pixels(np.rint(image[0, 0].numpy() * 255).astype(np.uint8)))
        size = list(read_image(sources[0]).size)
        runs = [_measured(request, sources, folder / "fused.png", rule) for rule in request.rules]
        alone = peak_of([sys.executable, "-c", "import torch"])[0]
    found = {
        **facts(),
        "processor": processor_name(),
        "size": size,
        "sources": len(sources),
        "images": "given" if request.images else "the embedded sample",
        "model": request.model,
        "torch_alone": alone,
        "runs": runs,
    }
    return Result(found, _memory_markdown(found), runs)


def _measured(request: requests.Memory, sources: Sequence[Path], output: Path, rule: str | None) -> dict[str, Any]:
    """Fuse in a process of its own and return its row."""
    options = {"--model": request.model, "--tile": request.tile, "--device": request.device, "--bit-depth": "8"}
    options |= {flag: value for flag, value in (("--rule", rule), ("--memory", request.memory)) if value}
    command = [sys.executable, "-m", "fusekit", "fuse", *map(str, sources), "-o", str(output)]
    peak, seconds = peak_of([*command, *(word for pair in options.items() for word in pair)])
    record = json.loads(output.with_name(f"{output.name}.json").read_text(encoding="utf-8"))
    name = record["rule"]["name"] if record["rule"] else None
    kept = {key: record[key] for key in ("device", "dtype", "form", "tiles", "rule_report")}
    return {"rule": name, "peak": peak, "seconds": seconds, **kept}


def peak_of(command: Sequence[str]) -> tuple[int, float]:
    """Run a command and return the peak of its resident memory in bytes and its seconds.

    Raises:
        InputError: it failed.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    code, peak = (int(each) for each in done.stdout.split())
    if code:
        raise _failed(done.stderr, code)
    # Linux counts in KiB, macOS in bytes.
    return peak * (1 if sys.platform == "darwin" else 1024), seconds


def _memory_markdown(found: Mapping[str, Any]) -> str:
    from fusekit.errors import size_text
    from fusekit_bench.publish import table

    text = (
        f"`{found['model']}`, {found['sources']} images of {size_text(found['size'])} pixels ({found['images']}), "
        f"{found['processor']}, torch {found['torch']}, fusekit {found['version']}, code `{found['code']}`. "
        f"A process that only imports torch: {found['torch_alone'] / 2**30:.2f} GiB."
    )
    headers = ["rule", "peak of the process (GiB)", "tiles", "passes", "norms", "channels decomposed", "seconds"]
    rows = []
    for row in found["runs"]:
        tiles, report = row["tiles"] or {}, row["rule_report"] or {}
        cut = f"{tiles['number']} of {size_text(tiles['side'])}" if "number" in tiles else tiles.get("note", "none")
        decomposed = " + ".join(str(sum(source)) for source in report.get("decomposed_channels") or [])
        cells = [row["rule"] or "", f"{row['peak'] / 2**30:.2f}", cut, tiles.get("passes", 1), report.get("norms", "")]
        rows.append([*cells, decomposed, f"{row['seconds']:.0f}", f"{row['device']}, {row['dtype']}"])
    return "\n".join([text, "", *table([*headers, "device, dtype"], rows, "lrlrlrrl")])


if __name__ == "__main__":
    print(json.dumps(_parts(*sys.argv[1:])))
