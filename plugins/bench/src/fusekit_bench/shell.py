"""What ``fusekit fuse`` costs as a whole process, beside ``import torch`` and one fuse of a loaded model.

``python -m fusekit_bench.shell MODEL A B OUT`` is a process that fuses once and prints the seconds of its parts.
"""

from __future__ import annotations

import sys
import time

_BORN = time.perf_counter()

# What follows is what is timed, so it is imported one part after the other.
import json  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

_TORCH = "import torch"
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


def measure(
    repeats: int = 7,
    model: str = "ehdran",
    size: tuple[int, int] = (256, 256),
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Time whole processes and fuses of a loaded model in turns, on the embedded CT and MRI.

    Args:
        repeats: turns of each.
        model: as in `fusekit.load`.
        size: height and width of the pair.
        progress: called after each turn.

    Returns:
        JSON-able: machine and versions, ``seconds`` of each turn of ``torch``, ``fuse`` and ``shell``, ``ratio`` of the
        last to the sum of the other two with its quartiles, and ``parts``, medians in a process of their own.

    Raises:
        OptionError: no turn.
        FusekitError: no such model, or a size that is too small.
    """
    import torch

    import fusekit
    from fusekit.errors import OptionError
    from fusekit.images.files import write_image
    from fusekit.models.describe import machine
    from fusekit.version import code_version
    from fusekit_bench.busy import load_average
    from fusekit_bench.speed_images import pair
    from fusekit_bench.speed_race import spread

    if repeats < 1:
        raise OptionError("--repeats is 1 or more")
    busy_before = load_average()
    loaded = fusekit.load(model)
    with tempfile.TemporaryDirectory(prefix="fusekit-bench-") as name:
        folder = Path(name)
        sources = [folder / "a.png", folder / "b.png"]
        for path, image in zip(sources, pair(None, size), strict=True):
            write_image(path, image)
        turns = _Turns(model, sources, folder / "fused.png", loaded)
        turns.fuse()
        for _ in range(repeats):
            turns.once()
            progress()
    seconds = turns.seconds
    ratios = [
        shell / (base + fuse)
        for shell, base, fuse in zip(seconds["shell"], seconds["torch"], seconds["fuse"], strict=True)
    ]
    return {
        "version": fusekit.__version__,
        "code": code_version(),
        "torch": str(torch.__version__),
        "machine": machine(loaded),
        "threads": torch.get_num_threads(),
        "load_average": busy_before,
        "model": model,
        "size": list(size),
        "seconds": seconds,
        "ratio": spread(ratios),
        "parts": {part: statistics.median(each[part] for each in turns.parts) for part in PARTS},
    }


class _Turns:
    """The contestants: three that are raced, and the process that tells its parts."""

    def __init__(self, model: str, sources: Sequence[Path], output: Path, loaded: Any) -> None:
        self._model, self._sources, self._output, self._loaded = model, list(sources), output, loaded
        self.seconds: dict[str, list[float]] = {"torch": [], "fuse": [], "shell": []}
        self.parts: list[dict[str, float]] = []

    def once(self) -> None:
        """Time each once."""
        words = ["fuse", *map(str, self._sources), "-o", str(self._output), "--model", self._model]
        self.seconds["torch"].append(_timed(lambda: _python("-c", _TORCH)))
        self.seconds["fuse"].append(_timed(self.fuse))
        self.seconds["shell"].append(_timed(lambda: run_fusekit(*words)))
        told = _python("-m", "fusekit_bench.shell", self._model, *map(str, self._sources), str(self._output))
        self.parts.append(json.loads(told))

    def fuse(self) -> None:
        """Read, fuse and write with the loaded model."""
        from fusekit.pipeline import fuse

        fuse(self._sources, self._loaded).save(self._output)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run_fusekit(*words: str) -> str:
    """Run the command ``fusekit`` as a process of its own, as a shell does, and return what it prints.

    Raises:
        InputError: it fails; the message is its last line.
    """
    return _python("-c", _FUSEKIT, *words)


def _python(*arguments: str) -> str:
    """Run Python, and return what it prints.

    Raises:
        InputError: it fails; the message is its last line.
    """
    from fusekit.errors import InputError

    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError((done.stderr.strip().splitlines() or ["the process failed without a word"])[-1])
    return done.stdout


def tell_parts(model: str, first: str, second: str, output: str) -> dict[str, float]:
    """Fuse once in this process and return the seconds of each of `PARTS`."""
    from fusekit.cli.start import uncollected, wait_passively

    wait_passively()
    with uncollected():
        return _parts(model, first, second, output)


def _parts(model: str, first: str, second: str, output: str) -> dict[str, float]:
    marks = [_BORN]

    def mark() -> None:
        marks.append(time.perf_counter())

    import torch  # noqa: F401

    mark()
    from fusekit import options as choices
    from fusekit import pipeline
    from fusekit.fusing.run import run_model
    from fusekit.models import load as loading

    mark()
    loaded = loading.load(model)
    rule = loaded.choose_rule(None)
    mark()
    options = choices.FuseOptions()
    prepared = pipeline.prepare([first, second], loaded, options)
    mark()
    ran = run_model(loaded, prepared.units, rule, options)
    mark()
    taken = {"read": marks[4] - marks[3], "fuse": marks[5] - marks[4]}
    pipeline.finish(prepared, loaded, rule, options, ran, taken).save(output)
    mark()
    return {part: marks[index + 1] - marks[index] for index, part in enumerate(PARTS)}


def markdown(found: Mapping[str, Any], command: str) -> str:
    """Return what `measure` found as Markdown, with what it was measured on."""
    height, width = found["size"]
    facts, seconds, ratio = found["machine"], found["seconds"], found["ratio"]
    busy = f", load average {found['load_average'][0]:.1f} at the start" if found["load_average"] else ""
    lines = [
        f"`{command}`: a {height}×{width} pair, {found['model']}, {facts['dtype']} on {facts['device']} "
        f"({facts['device_name']}), torch {found['torch']}, {found['threads']} threads{busy}; code `{found['code']}`. "
        f"Medians of {len(seconds['shell'])} turns.",
        "",
        "| | seconds |",
        "|---|--:|",
        f"| `python -c 'import torch'` | {statistics.median(seconds['torch']):.3f} |",
        f"| one fuse of a loaded model, files included | {statistics.median(seconds['fuse']):.3f} |",
        f"| `fusekit fuse`, the whole process | {statistics.median(seconds['shell']):.3f} |",
        f"| times the sum of the first two | {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] |",
        "",
        "| part of such a process | seconds |",
        "|---|--:|",
    ]
    return "\n".join([*lines, *(f"| {text} | {found['parts'][part]:.3f} |" for part, text in PARTS.items())])


if __name__ == "__main__":
    print(json.dumps(tell_parts(*sys.argv[1:])))
