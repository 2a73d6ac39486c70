"""Tables among the results, with what others wrote in them shown as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusekit.cli.output import results
from fusekit.cli.signs import in_signs_of
from fusekit.errors import plain
from fusekit.registry.discovery import registries

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def cell(value: object, style: str = "") -> Text:
    """Return what is shown of a value: its text, whatever it looks like, in signs that the output can show."""
    from rich.text import Text

    return Text(in_signs_of(results().encoding, plain(value)), style)


def console() -> Console:
    """Return a console that writes results."""
    from rich.console import Console

    class Results(Console):
        """It leaves it to the command line what happens when the reader of the output has gone."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Results(file=results(), highlight=False)


def table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return an empty table; ``columns`` are rich's settings by header."""
    from rich import box
    from rich.table import Table

    made = Table(title=cell(title, "bold"), box=box.SIMPLE_HEAD, title_justify="left")
    for header, settings in columns.items():
        made.add_column(header, **settings)
    return made


def print_metrics(title: str, values: Mapping[str, float]) -> None:
    """Print one image's metrics: name with its direction, value, what it is."""
    from fusekit.evaluation.rate import arrow

    found = table(
        title,
        {
            "metric": {"style": "cyan", "no_wrap": True},
            "value": {"justify": "right", "no_wrap": True},
            "what it is": {},
        },
    )
    for name, value in values.items():
        summary = registries().metrics.entry(name).summary
        found.add_row(cell(f"{name} {arrow(name)}"), f"{value:.4f}", cell(summary))
    console().print(found)
