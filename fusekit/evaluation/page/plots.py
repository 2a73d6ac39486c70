"""Strip plots of the page: a row a method, a dot an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fusekit.evaluation.page.marks import escaped
from fusekit.evaluation.rate import arrow
from fusekit.evaluation.ratings import Comparison
from fusekit.evaluation.terminal import number

#: Dots of one page beyond which each row shows fewer images.
MOST_DOTS = 9000
_WIDTH, _ROW = 340, 34


def plots(comparison: Comparison) -> str:
    """Return a plot a metric: each image's value, and the mean as a bar; nothing for a single image."""
    if len(comparison.images) < 2:
        return ""
    most = max(12, MOST_DOTS // (len(comparison.metrics) * len(comparison.methods)))
    drawn = "".join(_plot(comparison, metric, most) for metric in comparison.metrics)
    said = "A dot is an image, the bar the mean; dots that lie on each other look denser."
    if len(comparison.images) > most:
        said += f" Each row shows {most} of {len(comparison.images)} images, evenly spaced by value."
    return f'<div class="plots">{drawn}</div><p class="note">{said}</p>'


def _plot(comparison: Comparison, metric: str, most: int) -> str:
    values = {method: comparison.values(method, metric) for method in comparison.methods}
    finite = [value for row in values.values() for value in row if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return 6 + (value - low) / span * (_WIDTH - 12)

    marks = []
    for row, method in enumerate(comparison.methods):
        y = 24 + row * _ROW
        marks.append(f'<text x="0" y="{y - 11}">{escaped(method[:40])}</text>')
        marks.append(f'<line class="rail" x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
        marks += [
            f'<circle cx="{place(value):.1f}" cy="{y}" r="4"><title>{escaped(image)}: {number(value)}</title></circle>'
            for image, value in _thinned(comparison.images, values[method], most)
        ]
        mean = comparison.mean(method, metric)
        if math.isfinite(mean):
            x = f"{place(mean):.1f}"
            marks.append(f'<line class="mean" x1="{x}" x2="{x}" y1="{y - 8}" y2="{y + 8}"/>')
    height = 24 + len(comparison.methods) * _ROW
    marks.append(f'<text class="dim" x="0" y="{height - 10}">{number(low)}</text>')
    marks.append(f'<text class="dim" x="{_WIDTH}" y="{height - 10}" text-anchor="end">{number(high)}</text>')
    title = f"{escaped(metric)} {arrow(metric)}"
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{title}: values of all images">{"".join(marks)}</svg></figure>'
    )


def _thinned(images: Sequence[str], values: Sequence[float], most: int) -> list[tuple[str, float]]:
    """Return at most ``most`` finite values with their images, evenly spaced in their order, the extremes included."""
    found = sorted(
        ((image, value) for image, value in zip(images, values, strict=True) if math.isfinite(value)),
        key=lambda each: each[1],
    )
    if len(found) <= most:
        return found
    return [found[round(index * (len(found) - 1) / (most - 1))] for index in range(most)]
