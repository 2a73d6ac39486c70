"""``fusekit list``."""

from __future__ import annotations

from typing import Any

import click

from fusekit.cli.output import Command, result_json
from fusekit.cli.tables import cell, console, table
from fusekit.listing import KINDS, listing


class _Lists(Command):
    computes = False


@click.command("list", cls=_Lists, short_help="Show what is registered.")
@click.argument("kind", type=click.Choice(KINDS), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
def list_(kind: str | None, as_json: bool) -> None:
    """Show what is registered: models, encoders, decoders, edges, rules, metrics, formats and the rest."""
    kinds = (kind,) if kind else KINDS
    found = {each: listing(each) for each in kinds}
    if as_json:
        rows = [{"kind": each, **row} for each, rows in found.items() for row in rows]
        result_json(rows)
        return
    for each, rows in found.items():
        _print_table(each, rows)


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _print_table(kind: str, rows: list[dict[str, Any]]) -> None:
    """Print one table, with the papers as numbered notes under it."""
    extra = {
        "weights": "where",
        "plugins": "version",
        "models": "rules",
        "metrics": "direction",
        "formats": "extensions",
    }.get(kind)
    papers = list(dict.fromkeys(row["citation"] for row in rows if row["citation"]))
    facts = [each for each in (extra, "owner") if each]
    columns: dict[str, dict[str, Any]] = {"name": {"style": "cyan", "no_wrap": True}, "summary": {}}
    columns |= {each: {"no_wrap": True} for each in facts}
    columns |= {"paper": {"justify": "right", "style": "dim"}} if papers else {}
    found = table(kind, columns)
    for row in rows:
        note = f"[{papers.index(row['citation']) + 1}]" if row["citation"] else ""
        cells = [row["name"], row["summary"], *(_text(row[each]) for each in facts), *([note] if papers else [])]
        found.add_row(*map(cell, cells))
    out = console()
    out.print(found)
    for number, paper in enumerate(papers, start=1):
        out.print(cell(f" [{number}] {paper}", "dim"))
    out.print()
