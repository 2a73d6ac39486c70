"""The report of the check command in markdown: what was compared, what was timed, and how near the roofline it is."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch

from fusekit.extend import code_version
from fusekit_ehdran.kernels.check.roofline import LAUNCHES, Rates, Work, rates_of, work, work_of_pairs

_ITEM_SIZES = {"bfloat16": 2, "float32": 4}


class Compared(NamedTuple):
    """The greatest error of a launch on one shape (batch, height, width), a share of the twin's greatest value."""

    launch: str
    dtype: str
    shape: tuple[int, int, int]
    error: float
    tolerance: float

    @property
    def passes(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return self.error <= self.tolerance

    @property
    def severity(self) -> float:
        """The error, infinite where it is no number."""
        return math.inf if math.isnan(self.error) else self.error


class Timed(NamedTuple):
    """The median time of a launch, or of a method to run the model, on a batch of square images.

    Attributes:
        name: of the launch or method.
        dtype: ``bfloat16`` or ``float32``.
        precision: of float32 products.
        batch: images, or pairs of a method.
        side: of the images in pixels.
        seconds: of the whole batch; ``None`` where it could not run.
    """

    name: str
    dtype: str
    precision: str
    batch: int
    side: int
    seconds: float | None


def name_of(dtype: torch.dtype) -> str:
    """Return a dtype's name, such as ``float32``."""
    return str(dtype).removeprefix("torch.")


def heading(device: torch.device) -> str:
    """Return the device and the versions."""
    parts = ["the CPU, interpreted"]
    if device.type == "cuda":
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        parts = [f"{torch.cuda.get_device_name(device)} (compute capability {capability}, CUDA {torch.version.cuda})"]
    parts += [f"torch {torch.__version__}", f"triton {_version('triton')}", f"Python {platform.python_version()}"]
    return f"# Kernels on {', '.join(parts)}\n\nCode: {code_version()}."


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "without a version"


def comparison(rows: Sequence[Compared]) -> str:
    """Return the errors, the worst shape of each launch and dtype."""
    worst: dict[tuple[str, str], Compared] = {}
    for row in rows:
        before = worst.get((row.launch, row.dtype))
        if before is None or row.severity > before.severity:
            worst[row.launch, row.dtype] = row
    lines = [
        "Greatest difference to the torch twin, as a share of the greatest value, over "
        f"{len({row.shape for row in rows})} shapes:",
        "",
        *_header("launch", "dtype", "error", "tolerance", "worst shape", ""),
    ]
    for row in worst.values():
        shape = " × ".join(map(str, row.shape))
        verdict = "ok" if row.passes else "WRONG"
        lines.append(_row(row.launch, row.dtype, f"{row.error:.1e}", f"{row.tolerance:.1e}", shape, verdict))
    return "\n".join(lines)


def launches(rows: Sequence[Timed], device_name: str) -> str:
    """Return the times of launches beside the least times that the published rates of the device allow."""
    rates = rates_of(device_name)
    known = {launch.name: launch for launch in LAUNCHES}
    lines = [_about(rates), "", *_header("launch", "dtype", "products", "batch", "side", "µs", "least µs", "share")]
    for row in rows:
        needed = work([known[row.name]], row.batch, row.side**2, _ITEM_SIZES[row.dtype])
        lines.append(_row(*_cells(row), row.batch, row.side, *_beside_roofline(row, needed, rates)))
    return "\n".join(lines)


def models(rows: Sequence[Timed], device_name: str) -> str:
    """Return the times of the methods to run the model, a pair: both sources encoded, their mean decoded."""
    rates = rates_of(device_name)
    of = {(row.name, row.dtype, row.batch, row.side): row.seconds for row in rows}
    lines = [
        "Encoding both sources, their mean, decoding; µs a pair, and how many times as fast as eager torch and as the "
        "faster of torch.compile's forms:",
        "",
        *_header("method", "dtype", "batch", "side", "µs a pair", "least µs", "share", "eager", "compiled"),
    ]
    for row in rows:
        key = row[1], row[3], row[4]
        compiled = [seconds for (name, *rest), seconds in of.items() if name.startswith("compiled") and (*rest,) == key]
        fastest = min((each for each in compiled if each), default=None)
        whole = work_of_pairs(row.batch, row.side**2, _ITEM_SIZES[row.dtype])
        cells = _beside_roofline(row, whole, rates, row.batch)
        ratios = [_ratio(before, row.seconds) for before in (of.get(("eager", *key)), fastest)]
        lines.append(_row(row.name, row.dtype, row.batch, row.side, *cells, *ratios))
    return "\n".join(lines)


def _about(rates: Rates | None) -> str:
    if rates is None:
        return "Times of launches, medians. The published rates of this device are not known here."
    return (
        f"Times of launches, medians; least at the published {rates.bfloat16 / 1e12:.0f} TFLOP/s in bfloat16, "
        f"{rates.float32 / 1e12:.1f} TFLOP/s in float32 and {rates.bytes / 1e12:.2f} TB/s of memory:"
    )


def _cells(row: Timed) -> tuple[str, str, str]:
    return row.name, row.dtype, row.precision if row.dtype == "float32" else "tensor cores"


def _beside_roofline(row: Timed, needed: Work, rates: Rates | None, share_of: int = 1) -> tuple[str, str, str]:
    """Return time and least time in µs, divided by ``share_of``, and the least time as a share of the time."""
    least = None
    if rates is not None:
        rate = rates.bfloat16 if row.dtype == "bfloat16" else rates.float32
        least = needed.seconds(rate, rates.bytes)
    share = f"{least / row.seconds:.0%}" if least and row.seconds else ""
    return _microseconds(row.seconds, share_of), _microseconds(least, share_of), share


def _microseconds(seconds: float | None, share_of: int) -> str:
    return "" if seconds is None else f"{seconds / share_of * 1e6:.1f}"


def _ratio(before: float | None, seconds: float | None) -> str:
    return f"{before / seconds:.2f}×" if before and seconds else ""


def _header(*names: str) -> list[str]:
    return [_row(*names), _row(*["---"] * len(names))]


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
