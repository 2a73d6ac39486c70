"""What each launch must compute and move, and how long a GPU needs for that at least.

Operations are two a multiply-add, of the arithmetic that the result needs: what a kernel computes twice, or on zeros
that fill a tile, does not count. Bytes are each value read once and written once, as if caches kept what neighbouring
tiles share. ``python -m fusekit_ehdran.kernels.check.roofline`` prints the table of `docs/kernels.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fusekit_ehdran.kernels.polar import operations, schedule

#: Channels of the features.
C = 64


class Launch(NamedTuple):
    """One launch of a kernel, counted a pixel of one image.

    Attributes:
        name: of the launch.
        kernel: its name in `fusekit_ehdran.kernels.settings.TABLE`.
        multiply_adds: a pixel.
        values: read and written a pixel, in the dtype of the features.
        weights: values of weights read in all.
        images: how often it runs for a pair whose features are fused apart: twice in the encoder, once in the decoder.
            Rules of SFNN's family can run ``shares`` on each source and ``blend`` in the place of ``convolve``, which
            reads the features of both and weighs them itself.
        formula: how ``multiply_adds`` and ``values`` come about, for the documentation.
    """

    name: str
    kernel: str
    multiply_adds: int
    values: int
    weights: int
    images: int
    formula: tuple[str, str]


class Rates(NamedTuple):
    """Published rates of a GPU without sparsity: operations a second by dtype, and bytes a second of its memory."""

    bfloat16: float
    float32: float
    bytes: float


class Work(NamedTuple):
    """Operations and bytes of some launches on some images."""

    operations: int
    bytes: int

    def seconds(self, rate: float, bandwidth: float) -> float:
        """Return the least time at ``rate`` operations and ``bandwidth`` bytes a second, whichever takes longer."""
        return max(self.operations / rate, self.bytes / bandwidth)

    def bound(self, rate: float, bandwidth: float) -> str:
        """Return whether the ``products`` or the ``memory`` take longer."""
        return "products" if self.operations / rate > self.bytes / bandwidth else "memory"


LAUNCHES = (
    Launch("multiscale", "multiscale", 3 * 25 * C, 1 + C, 3 * 25 * C, 2, ("3·25·C", "1 + C")),
    Launch("shared, once", "shared", 9 * C * C, 2 * C, 9 * C * C, 2, ("9·C²", "2·C")),
    Launch("shared, twice", "shared", 9 * C * C, 3 * C, 9 * C * C, 2, ("9·C²", "3·C")),
    Launch("attend", "attend", 9 * C * C, 1 + 3 * C, 9 * C * C, 2, ("9·C²", "1 + 3·C")),
    Launch(
        "edges",
        "edges",
        18 * 5 * C + 9 * C * 2 * C + 2 * C * C + C * C,
        1 + 2 * C,
        18 * 5 * C + 9 * C * 2 * C + 3 * C * C,
        2,
        ("18·5·C + 18·C² + 3·C²", "1 + 2·C"),
    ),
    Launch("convolve", "convolve", 9 * C * C, 2 * C, 9 * C * C, 1, ("9·C²", "2·C")),
    Launch("taps", "taps", 9 * C * 32 + 32 * 9, C + 18, 9 * C * 32 + 32 * 9, 1, ("9·C·32 + 32·9", "C + 9·2")),
    Launch("sum_taps", "sum_taps", 9, 19, 0, 1, ("9", "9·2 + 1")),
    Launch("blend", "blend", 9 * C * C + 2 * C, 3 * C, 9 * C * C, 0, ("9·C² + 2·C", "3·C")),
    Launch("shares", "shares", 3 * C, C + 2, 0, 0, ("3·C", "C + 2")),
)

#: By a part of the name that CUDA gives the device, most particular first; from NVIDIA's data sheets. Float32 is that
#: of the ordinary units, which exact float32 products run on.
RATES = {
    "H200": Rates(989e12, 67e12, 4.8e12),
    "H100 PCIe": Rates(756e12, 51e12, 2.0e12),
    "H100": Rates(989e12, 67e12, 3.35e12),
    "A100-SXM4-80GB": Rates(312e12, 19.5e12, 2.039e12),
    "A100": Rates(312e12, 19.5e12, 1.555e12),
}


def rates_of(device_name: str) -> Rates | None:
    """Return the published rates of a GPU by its name, or ``None`` where they are not known here."""
    return next((rates for part, rates in RATES.items() if part in device_name), None)


def work(launches: Sequence[Launch], images: int, pixels: int, item_size: int) -> Work:
    """Return what ``launches`` need on ``images`` images of ``pixels`` pixels with values of ``item_size`` bytes."""
    operations = sum(2 * each.multiply_adds for each in launches) * images * pixels
    values = sum(each.values * images * pixels + each.weights for each in launches)
    return Work(operations, values * item_size)


def work_of_pairs(pairs: int, pixels: int, item_size: int) -> Work:
    """Return what all launches need on pairs of images: both sources encoded, one image decoded."""
    parts = [work([each], each.images * pairs, pixels, item_size) for each in LAUNCHES]
    return Work(sum(each.operations for each in parts), sum(each.bytes for each in parts))


def table(rates: Rates, batches: Sequence[int] = (1, 32), side: int = 256) -> str:
    """Return in markdown operations, bytes and the least time of each launch on batches of images in bfloat16."""
    head = ["launch", "multiply-adds a pixel", "values a pixel"]
    for batch in batches:
        head += [f"GFLOP, batch {batch}", f"MB, batch {batch}", f"least µs, batch {batch}"]
    lines = [_row([*head, "bound by"]), _row(["---"] * (len(head) + 1))]
    for launch in LAUNCHES:
        products, values = launch.formula
        cells = [launch.name, f"{products} = {launch.multiply_adds:,}", f"{values} = {launch.values}"]
        for batch in batches:
            needed = work([launch], batch, side * side, 2)
            cells += _numbers(needed, rates)
        lines.append(_row([*cells, needed.bound(rates.bfloat16, rates.bytes)]))
    cells = ["a pair: encoder twice, decoder once", "", ""]
    for batch in batches:
        needed = work_of_pairs(batch, side * side, 2)
        cells += _numbers(needed, rates)
    lines.append(_row([*cells, needed.bound(rates.bfloat16, rates.bytes)]))
    return "\n".join(lines)


def norms_table(rates: Rates, sides: Sequence[int] = (128, 256, 512, 1024, 4096)) -> str:
    """Return in markdown what one nuclear norm of a square matrix takes by matrix products in float32."""
    lines = [_row(["side", "steps", "products", "GFLOP", "least µs"]), _row(["--:"] * 5)]
    for side in sides:
        steps, needed = len(schedule(1e-5 / side)), operations(side, side)
        cells = [
            f"{side:,}",
            str(steps),
            str(3 * steps),
            f"{needed / 1e9:,.2f}",
            f"{needed / rates.float32 * 1e6:,.1f}",
        ]
        lines.append(_row(cells))
    return "\n".join(lines)


def _numbers(needed: Work, rates: Rates) -> list[str]:
    least = needed.seconds(rates.bfloat16, rates.bytes)
    return [f"{needed.operations / 1e9:.2f}", f"{needed.bytes / 1e6:.1f}", f"{least * 1e6:.1f}"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table(RATES["H100"]))
    print()
    print(norms_table(RATES["H100"]))
