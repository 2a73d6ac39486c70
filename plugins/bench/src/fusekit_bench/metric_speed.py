"""How long each metric takes, alone or beside another implementation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fusekit
from fusekit.errors import InputError, OptionError
from fusekit.evaluation.rate import metric_names, read_luminance
from fusekit.images import samples
from fusekit.images.image import Array
from fusekit.machine.devices import processor_name
from fusekit.metrics.build import build_metric
from fusekit.metrics.levels import gray_levels
from fusekit.version import code_version
from fusekit_bench.adapters import import_attribute
from fusekit_bench.speed_images import mirrored

#: Rates A, B and the fused image, arrays (H, W) of whole grey levels 0-255 in float32.
Rater = Callable[[Array, Array, Array], float]
# Values that differ by more are of another definition.
_SAME = 1e-3


def sample_images(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return CT, MRI and their pixel-wise maximum, (1, 1, size, size) in [0, 1]: the embedded sample, mirrored on.

    Raises:
        OptionError: ``size`` is below 16.
    """
    if size < 16:
        raise OptionError(f"images of {size}×{size} pixels are too small to time; give --size 16 or more")
    found = []
    for name in ("ct", "mri"):
        picture = read_luminance(samples.path(name))[0, 0].numpy()
        found.append(torch.from_numpy(mirrored(picture, size, size))[None, None])
    return found[0], found[1], torch.maximum(*found)


def load_raters(target: str) -> dict[str, Rater]:
    """Import ``module:attribute``, a mapping from metric ids to functions of A, B and the fused image.

    The module is looked for in the current folder too.

    Raises:
        OptionError: it cannot be imported, or is not such a mapping.
        UnknownNameError: it names a metric that is not registered.
    """
    found = import_attribute(target)
    if not isinstance(found, Mapping) or not found or not all(callable(rater) for rater in found.values()):
        raise OptionError(f"--against {target} is not a mapping from metric ids to functions of A, B and fused arrays")
    return {name: found[name] for name in metric_names(list(found))}


def time_metrics(
    metrics: str | Sequence[str] | None,
    size: int,
    *,
    threads: int = 1,
    repeats: int = 3,
    dtype: str = "float64",
    images: Sequence[Path] | None = None,
    against: str | None = None,
) -> dict[str, Any]:
    """Time metrics on one triple of images.

    Where another implementation is raced, each turn of ours is followed by one of theirs.

    Args:
        metrics: ids and sets; ``None`` is ``standard``, or what the other implementation has.
        size: side of the sample images.
        threads: of torch.
        repeats: turns of each metric after the first.
        dtype: of the images that ours are given: ``float64``, as `fusekit.evaluate` does, or ``float32``.
        images: the files of A, B and the fused image, in place of the sample.
        against: the other implementation, as for `load_raters`.

    Returns:
        JSON-able: the machine, how time was taken, a row a metric with the seconds of the first call and the least of
        the others, the sums, and for a race their seconds, the ratio, and both values.

    Raises:
        InputError: the images cannot be read, or their sizes differ.
        OptionError: an option has a value that cannot be used.
    """
    if threads < 1 or repeats < 1:
        raise OptionError("--threads and --repeats are 1 or more")
    raters = load_raters(against) if against else {}
    names = metric_names(list(raters) if raters and metrics is None else metrics)
    triple = [image.to(getattr(torch, dtype)) for image in (_read(images) if images else sample_images(size))]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = [_timed(name, triple, repeats, raters.get(name), _clock(threads)) for name in names]
    finally:
        torch.set_num_threads(before)
    return {
        "version": fusekit.__version__,
        "code": code_version(),
        "torch": str(torch.__version__),
        "processor": processor_name(),
        "threads": threads,
        "seconds_of": "one thread" if threads == 1 else "wall clock",
        "dtype": dtype,
        "size": list(triple[2].shape[-2:]),
        "images": "given" if images else "the embedded sample",
        "against": against,
        "metrics": rows,
        "first": sum(row["first"] for row in rows),
        "best": sum(row["best"] for row in rows),
    }


def _clock(threads: int) -> Callable[[], float]:
    """Return the clock: processor time of the process for one thread, so that other programs do not count."""
    return time.process_time if threads == 1 else time.perf_counter


def _read(images: Sequence[Path]) -> tuple[Tensor, Tensor, Tensor]:
    if len(images) != 3:
        raise OptionError(f"give three images, A, B and the fused one, not {len(images)}")
    first, second, fused = (read_luminance(path) for path in images)
    for path, image in zip(images, (first, second), strict=False):
        if image.shape != fused.shape:
            raise InputError(f"{path} and {images[2]} are of different sizes; register them to one size first")
    return first, second, fused


def _timed(
    name: str, triple: Sequence[Tensor], repeats: int, rater: Rater | None, clock: Callable[[], float]
) -> dict[str, Any]:
    """Time one metric, each source's own value included, beside another implementation where there is one."""
    metric = build_metric(name)
    first, second, fused = triple

    def ours() -> float:
        with torch.no_grad():
            return float(metric.rate([first, second], fused)[0])

    arrays = [gray_levels(image)[0, 0].numpy().astype(np.float32) for image in triple]
    for array in arrays:
        array.flags.writeable = False
    start, value = _seconds(ours, clock)
    row: dict[str, Any] = {"metric": name, "first": start}
    theirs: list[float] = []
    other = float("nan")
    turns = []
    for _ in range(repeats):
        turns.append(_seconds(ours, clock)[0])
        if rater is not None:
            taken, other = _seconds(lambda: float(rater(*arrays)), clock)
            theirs.append(taken)
    row |= {"best": min(turns), "value": value}
    if rater is not None:
        deviation = 0.0 if other == value else abs(other - value) / max(abs(value), 1e-12)
        row |= {"theirs": min(theirs), "ratio": min(theirs) / min(turns), "their_value": other, "deviation": deviation}
    return row


def _seconds(work: Callable[[], float], clock: Callable[[], float]) -> tuple[float, float]:
    start = clock()
    value = work()
    return clock() - start, value


def markdown(found: Mapping[str, Any]) -> str:
    """Return the times as a Markdown table with what they were taken on."""
    height, width = found["size"]
    race = found["against"] is not None
    lines = [
        f"{height}×{width} pixels ({found['images']}), {found['dtype']}, {found['threads']} "
        f"thread{'s' if found['threads'] > 1 else ''} of {found['processor']}, seconds of {found['seconds_of']}, "
        f"torch {found['torch']}, fusekit {found['version']}, code `{found['code']}`.",
        "",
    ]
    if race:
        lines += ["| metric | ours (s) | theirs (s) | times as fast | values |", "|---|--:|--:|--:|---|"]
    else:
        lines += ["| metric | first call (s) | again (s) |", "|---|--:|--:|"]
    for row in found["metrics"]:
        if not race:
            lines.append(f"| `{row['metric']}` | {row['first']:.4f} | {row['best']:.4f} |")
        elif "theirs" not in row:
            lines.append(f"| `{row['metric']}` | {row['best']:.4f} | | | |")
        else:
            same = (
                "equal"
                if row["deviation"] < _SAME
                else f"another definition: {row['value']:.4f}, {row['their_value']:.4f}"
            )
            lines.append(
                f"| `{row['metric']}` | {row['best']:.4f} | {row['theirs']:.4f} | {row['ratio']:.1f} | {same} |"
            )
    theirs = [row["theirs"] for row in found["metrics"] if "theirs" in row]
    if not race:
        lines.append(f"| all | {found['first']:.4f} | {found['best']:.4f} |")
    else:
        ours = sum(row["best"] for row in found["metrics"] if "theirs" in row)
        lines.append(f"| all of both | {ours:.4f} | {sum(theirs):.4f} | {sum(theirs) / ours:.1f} | |")
    return "\n".join(lines)
