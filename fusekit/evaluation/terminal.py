"""A comparison as tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fusekit.errors import plain
from fusekit.evaluation.rate import arrow
from fusekit.evaluation.ratings import Comparison

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

#: Longer names of methods are cut in the heads of columns; the table of ranks has them whole.
_LONGEST = 24
_SPREAD = "±: standard deviation over the images."
_BETTER = "↑ higher, ↓ lower is better; bold: the best mean."
_STAR = "*: differs from the best, p < 0.05: paired randomisation test, Holm-corrected."
_RANK = "mean rank: over images and metrics, 1 is the best."
_WORSE = "by worse source: a metric with a value of each source counts by its worst."
_COPYING = "copying: 0 serves the sources alike, 1 is a copy of one (!: nearly)."
_SHARED = "r: correlation with each source; vif: visual information fidelity."


def print_comparison(comparison: Comparison, console: Console, *, worst: bool = False) -> None:
    """Print a row a metric and a column a method, in as many tables as the width needs, and then how methods rank.

    Cells are mean ± standard deviation, the best in bold. Where several methods are compared on two or more images,
    ``*`` marks those that differ from the best with p < 0.05. The last table has a row a method, the best first: the
    mean ranks, copying, the correlation with each source, and the visual information fidelity of the worse source.

    Args:
        comparison: rated.
        console: rich's, which knows the width.
        worst: also show each metric's value of the worse source.
    """
    several, count = len(comparison.methods) > 1, len(comparison.images)
    title = comparison.extent if comparison.left_out.cases > 1 else comparison.images[0]
    for methods in _fitting(comparison, console, worst):
        console.print(_values(comparison, methods, worst, title))
        title = ""
    console.print(_verdict(comparison))
    many = len(comparison.sources) > 1
    legend = {
        _SPREAD: count > 1, _BETTER: several, _STAR: several and count > 1, _RANK: several, _WORSE: several and many,
        _COPYING: many, _SHARED: True,
    }  # fmt: skip
    for line in (line for line, needed in legend.items() if needed):
        console.print(_text(line, "dim"))


def _fitting(comparison: Comparison, console: Console, worst: bool) -> list[list[str]]:
    """Return the methods in groups whose columns fit side by side."""
    methods, wide = comparison.methods, console.options.update(width=10_000)

    def fits(group: Sequence[str]) -> bool:
        table = _values(comparison, group, worst, "")
        return len(group) == 1 or console.measure(table, options=wide).maximum <= console.width

    for count in range(len(methods), 1, -1):
        groups = [methods[start : start + count] for start in range(0, len(methods), count)]
        if all(map(fits, groups)):
            # As many tables as these, but evenly filled.
            even = math.ceil(len(methods) / len(groups))
            evenly = [methods[start : start + even] for start in range(0, len(methods), even)]
            return evenly if all(map(fits, evenly)) else groups
    return [[method] for method in methods]


def _values(comparison: Comparison, methods: Sequence[str], worst: bool, title: str) -> Table:
    table = _table(title)
    table.add_column("metric", style="cyan", no_wrap=True)
    for method in methods:
        table.add_column(_text(_cut(method)), justify="right", no_wrap=True)
    for metric in comparison.metrics:
        table.add_row(_text(f"{metric} {arrow(metric)}"), *_cells(comparison, methods, metric, "value"))
        if worst and comparison.by_source(metric):
            table.add_row("  worse source", *_cells(comparison, methods, metric, "worst"), style="dim")
    return table


def _cells(comparison: Comparison, methods: Sequence[str], metric: str, part: str) -> list[Text]:
    """Return one cell a method: mean ± std, bold for the best, a star for those significantly behind it."""
    several, several_images = len(comparison.methods) > 1, len(comparison.images) > 1
    best = comparison.best(metric, part) if several else ""
    p_values = comparison.significance(metric, part) if several and several_images else {}
    cells = []
    for method in methods:
        text = number(comparison.mean(method, metric, part))
        spread = comparison.std(method, metric, part)
        if several_images and not math.isnan(spread):
            text += f" ± {number(spread)}"
        star = "*" if p_values.get(method, 1.0) < 0.05 else " " if p_values else ""
        cells.append(_text(text, "bold" if method == best else "") + _text(star))
    return cells


def _verdict(comparison: Comparison) -> Table:
    """Return a row a method: ranks, copying and what of each source is there."""
    several, several_sources = len(comparison.methods) > 1, len(comparison.sources) > 1
    table = _table("")
    table.add_column("method", style="cyan", overflow="fold", min_width=8)
    if several and several_sources:
        table.add_column("mean rank\nby worse source", justify="right")
    if several:
        table.add_column("mean rank\nby value" if several_sources else "mean rank", justify="right")
    if several_sources:
        table.add_column("copying", justify="right")
    shown = _shown(comparison, "r")
    table.add_column(shown, justify="right", overflow="fold")
    table.add_column("vif\nworse source" if several_sources else "vif", justify="right")
    copies = comparison.copies()
    for method in by_rank(comparison):
        ranks = [f"{comparison.mean_rank(method, part):.2f}" for part in _parts(comparison)]
        copying = [f"{fixed(comparison.copying(method))}{'!' if method in copies else ' '}"] * several_sources
        correlations = comparison.shared(method, "correlation")
        if len(correlations) > 3:
            correlations = [max(correlations), min(correlations)]
        row: list[RenderableType] = [
            _text(method),
            *ranks,
            *copying,
            " / ".join(map(fixed, correlations)),
            f"{comparison.worst_vif(method):.3f}",
        ]
        table.add_row(*row)
    return table


def _shown(comparison: Comparison, what: str) -> Text:
    names = [_cut(name, 10) for name in comparison.sources] if len(comparison.sources) <= 3 else ["best", "worst"]
    return _text(what) + "\n" + _text(" / ".join(names))


def _parts(comparison: Comparison) -> list[Literal["worst", "value"]]:
    """Return by what methods are ranked: by the worse source first, where there are several."""
    if len(comparison.methods) < 2:
        return []
    return ["worst", "value"] if len(comparison.sources) > 1 else ["value"]


def by_rank(comparison: Comparison) -> list[str]:
    """Return the methods, those that rank best by the worse source first."""
    return sorted(comparison.methods, key=lambda method: comparison.mean_rank(method, "worst"))


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(title=_text(title, "bold") if title else None, box=box.SIMPLE_HEAD, title_justify="left")


def _text(text: str, style: str = "") -> Text:
    """Return what others named as it is: no markup, and nothing that acts on the terminal."""
    from rich.text import Text

    return Text(plain(text), style)


def _cut(name: str, most: int = _LONGEST) -> str:
    name = plain(name)
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - most + most // 2 + 1 :]}"


def number(value: float) -> str:
    """Return a value with four significant digits or more, none beyond the fourth decimal."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 1000 else f"{value:.4f}" if abs(value) < 10 else f"{value:.3f}"


def fixed(value: float | None) -> str:
    """Return a value in [−1, 1] with two decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"
