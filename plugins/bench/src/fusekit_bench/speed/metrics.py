"""How long each metric takes, alone or beside another implementation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusekit.errors import InputError, OptionError
from fusekit.evaluation.rate import metric_names, read_luminance
from fusekit.images import samples
from fusekit.images.image import Array
from fusekit.machine.devices import processor_name
from fusekit.machine.threads import torch_threads
from fusekit.metrics.build import build_metric
from fusekit.metrics.levels import gray_levels
from fusekit_bench.publish import Result, facts, table
from fusekit_bench.requests import Metrics, check_size
from fusekit_bench.speed.cases import import_attribute, mirrored

#: Rates A, B and the fused image, arrays (H, W) of whole grey levels 0-255 in float32.
Rater = Callable[[Array, Array, Array], float]
# Values that differ by more are of another definition.
_SAME = 1e-3


def sample_images(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return CT, MRI and their pixel-wise maximum, (1, 1, size, size) in [0, 1]: the embedded sample, mirrored on.

    Raises:
        OptionError: ``size`` is below 16.
    """
    check_size(size, size)
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


def time_metrics(request: Metrics) -> Result:
    """Time metrics on one triple of images; in a race a call of another implementation follows each of ours.

    Reours_took:
        the machine, how time was taken, a row a metric with the seconds of the first call and the least of the others,
        the sums, and for a race their seconds, the ratio, and both values.

    Raises:
        InputError: the images cannot be read, or their sizes differ.
        OptionError: an option has a value that cannot be used.
    """
    raters = load_raters(request.against) if request.against else {}
    names = metric_names(list(request.metrics) or list(raters) or None)
    images = _read(request.images) if request.images else sample_images(request.size)
    triple = [image.to(getattr(torch, request.dtype)) for image in images]
    # Processor time of the process for one thread, so that other programs do not count.
    clock = time.process_time if request.threads == 1 else time.perf_counter
    with torch_threads(request.threads):
        rows = [_timed(name, triple, request.repeats, raters.get(name), clock) for name in names]
    found = {
        **facts(),
        "processor": processor_name(),
        "threads": request.threads,
        "seconds_of": "one thread" if request.threads == 1 else "wall clock",
        "dtype": request.dtype,
        "size": list(triple[2].shape[-2:]),
        "images": "given" if request.images else "the embedded sample",
        "against": request.against,
        "metrics": rows,
        "first": sum(row["first"] for row in rows),
        "best": sum(row["best"] for row in rows),
    }
    return Result(found, _markdown(found), rows)


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
    first_call, value = _seconds(ours, clock)
    seconds, theirs, other = [], [], float("nan")
    for _ in range(repeats):
        seconds.append(_seconds(ours, clock)[0])
        if rater is not None:
            taken, other = _seconds(lambda: float(rater(*arrays)), clock)
            theirs.append(taken)
    best = min(seconds)
    row = {"metric": name, "first": first_call, "best": best, "value": value}
    if rater is not None:
        deviation = 0.0 if other == value else abs(other - value) / max(abs(value), 1e-12)
        row |= {"theirs": min(theirs), "ratio": min(theirs) / best, "their_value": other, "deviation": deviation}
    return row


def _seconds(work: Callable[[], float], clock: Callable[[], float]) -> tuple[float, float]:
    start = clock()
    value = work()
    return clock() - start, value


def _markdown(found: Mapping[str, Any]) -> str:
    height, width = found["size"]
    text = (
        f"{height}×{width} pixels ({found['images']}), {found['dtype']}, {found['threads']} "
        f"thread{'s' if found['threads'] > 1 else ''} of {found['processor']}, seconds of {found['seconds_of']}, "
        f"torch {found['torch']}, fusekit {found['version']}, code `{found['code']}`."
    )
    if found["against"] is None:
        rows = [[f"`{row['metric']}`", f"{row['first']:.4f}", f"{row['best']:.4f}"] for row in found["metrics"]]
        rows.append(["all", f"{found['first']:.4f}", f"{found['best']:.4f}"])
        return "\n".join([text, "", *table(["metric", "first call (s)", "again (s)"], rows, "lrr")])
    rows = [_raced(row) for row in found["metrics"]]
    both = [row for row in found["metrics"] if "theirs" in row]
    ours, theirs = (sum(row[key] for row in both) for key in ("best", "theirs"))
    rows.append(["all of both", f"{ours:.4f}", f"{theirs:.4f}", f"{theirs / ours:.1f}", ""])
    return "\n".join([text, "", *table(["metric", "ours (s)", "theirs (s)", "times as fast", "values"], rows, "lrrrl")])


def _raced(row: Mapping[str, Any]) -> list[str]:
    cells = [f"`{row['metric']}`", f"{row['best']:.4f}"]
    if "theirs" not in row:
        return [*cells, "", "", ""]
    other = f"another definition: {row['value']:.4f}, {row['their_value']:.4f}"
    same = "equal" if row["deviation"] < _SAME else other
    return [*cells, f"{row['theirs']:.4f}", f"{row['ratio']:.1f}", same]
