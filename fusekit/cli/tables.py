"""Tables of metrics for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from fusekit.plugins import registries


def print_metrics(title: str, values: Mapping[str, float]) -> None:
    """Print one image's metrics: name with its direction, value, what it is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from fusekit.evaluation import arrow

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("metric", style="cyan", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("what it is")
    for name, value in values.items():
        table.add_row(f"{name} {arrow(name)}", f"{value:.4f}", registries().metrics.entry(name).summary)
    Console().print(table)
