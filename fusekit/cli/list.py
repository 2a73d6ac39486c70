"""``fusekit list``."""

from __future__ import annotations

import json
from typing import Any

import click

from fusekit.cli.output import Command, result, results
from fusekit.listing import KINDS, listing


@click.command("list", cls=Command, short_help="Show what is registered.")
@click.argument("kind", type=click.Choice(KINDS), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
def list_(kind: str | None, as_json: bool) -> None:
    """Show what is registered: models, encoders, decoders, edges, rules, metrics, formats and the rest."""
    kinds = (kind,) if kind else KINDS
    found = {each: listing(each) for each in kinds}
    if as_json:
        rows = [{"kind": each, **row} for each, rows in found.items() for row in rows]
        result(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for each, rows in found.items():
        _print_table(each, rows)


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _print_table(kind: str, rows: list[dict[str, Any]]) -> None:
    """Print one table, with the papers as numbered notes under it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(file=results(), highlight=False)
    extra = {
        "weights": "where",
        "plugins": "version",
        "models": "rules",
        "metrics": "direction",
        "formats": "extensions",
    }.get(kind)
    papers = list(dict.fromkeys(row["citation"] for row in rows if row["citation"]))
    table = Table(title=kind, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", expand=False)
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("summary")
    for title in filter(None, (extra, "owner")):
        table.add_column(title, no_wrap=True)
    if papers:
        table.add_column("paper", justify="right", style="dim")
    for row in rows:
        cells = [row["name"], row["summary"], *([_text(row[extra])] if extra else []), row["owner"]]
        note = f"[{papers.index(row['citation']) + 1}]" if row["citation"] else ""
        table.add_row(*cells, *([note] if papers else []))
    console.print(table)
    for number, paper in enumerate(papers, start=1):
        console.print(f" [{number}] {paper}", style="dim", markup=False)
    console.print()
