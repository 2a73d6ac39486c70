"""A comparison as a table in the terminal."""

from __future__ import annotations

import math
from typing import TextIO

from fusekit.errors import plain
from fusekit.evaluation.rate import arrow
from fusekit.evaluation.ratings import Comparison


def print_comparison(comparison: Comparison, file: TextIO, *, worst: bool = False) -> None:
    """Print to ``file`` a row a metric and a column a method: mean ± standard deviation, the best in bold.

    Where several methods are compared on two or more images, ``*`` marks those that differ from the best with p < 0.05,
    and the last row has the mean ranks.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    several, count = len(comparison.methods) > 1, len(comparison.images)
    title = f"{count} images" if count > 1 else comparison.images[0]
    # Names are shown as text, whatever they look like.
    table = Table(title=Text(plain(title), "bold"), box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("metric", style="cyan", no_wrap=True)
    for method in comparison.methods:
        table.add_column(Text(plain(method)), justify="right", no_wrap=True)
    for metric in comparison.metrics:
        table.add_row(f"{metric} {arrow(metric)}", *_cells(comparison, metric, "value", mark=several))
        if worst and any(
            rating[metric]["worst"] is not None for rating in comparison.ratings[_first(comparison)].values()
        ):
            table.add_row("  worse source", *_cells(comparison, metric, "worst", mark=several), style="dim")
    if several:
        table.add_section()
        table.add_row("mean rank", *(f"{comparison.mean_rank(method):.2f}" for method in comparison.methods))
    console = Console(file=file, highlight=False)
    console.print(table)
    if several and count > 1:
        console.print("* differs from the best: paired randomisation test, Holm-corrected p < 0.05", style="dim")


def _first(comparison: Comparison) -> str:
    return comparison.methods[0]


def _cells(comparison: Comparison, metric: str, part: str, *, mark: bool) -> list[str]:
    """Return one cell a method: mean ± std, bold for the best, a star for those significantly behind it."""
    several_images = len(comparison.images) > 1
    best = comparison.best(metric, part) if mark else ""
    p_values = comparison.significance(metric) if mark and several_images and part == "value" else {}
    cells = []
    for method in comparison.methods:
        text = number(comparison.mean(method, metric, part))
        if several_images:
            text += f" ± {number(comparison.std(method, metric, part))}"
        star = "*" if p_values.get(method, 1.0) < 0.05 else " " if p_values else ""
        cells.append(f"[bold]{text}[/bold]{star}" if method == best else text + star)
    return cells


def number(value: float) -> str:
    """Return a value with four significant digits or more, none beyond the fourth decimal."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 1000 else f"{value:.4f}" if abs(value) < 10 else f"{value:.3f}"
