"""What commands show: results on standard output and nothing else, progress and all other words on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from fusekit.registry.discovery import registries

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

_results: list[TextIO] = []


class Command(click.Command):
    """A command whose standard output belongs to its results: what else is printed goes to standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        with _results_only():
            return super().invoke(ctx)


@contextmanager
def _results_only() -> Iterator[None]:
    """Let `results` alone write to standard output; what a plugin prints would spoil JSON."""
    output = sys.stdout
    _results.append(output)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = output
        _results.pop()


def results() -> TextIO:
    """Return the stream of results."""
    return _results[-1] if _results else sys.stdout


def result(text: object) -> None:
    """Write a result and a line's end to standard output."""
    click.echo(text, file=results())


def bar_on_stderr(*notes: ProgressColumn) -> Progress:
    """Return rich's bar with counts, further columns and the time left; silent where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *notes, TimeRemainingColumn())
    # Before version 15, rich ends a line when a bar stops, a disabled one too.
    console.quiet = not console.is_terminal
    return Progress(*columns, console=console, disable=console.quiet)


class ProgressBar:
    """A progress bar on standard error, with a note and the time left; silent where that is no terminal.

    Args:
        description: what is being done.
        total: how many times.
    """

    def __init__(self, description: str, total: int) -> None:
        from rich.progress import TextColumn

        self._bar = bar_on_stderr(TextColumn("{task.fields[note]}"))
        self._task = self._bar.add_task(description, total=total, note="")

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def speed(self) -> float | None:
        """How many a second, where that is known yet."""
        task = self._bar.tasks[0]
        return task.finished_speed or task.speed

    def advance(self, note: str = "") -> None:
        """Show that one more is done."""
        self._bar.update(self._task, advance=1, note=note)

    def show(self, completed: int, description: str, note: str = "") -> None:
        """Show how many are done, and of what."""
        self._bar.update(self._task, completed=completed, description=description, note=note)


def print_metrics(title: str, values: Mapping[str, float]) -> None:
    """Print one image's metrics: name with its direction, value, what it is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from fusekit.evaluation.rate import arrow

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("metric", style="cyan", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("what it is")
    for name, value in values.items():
        table.add_row(f"{name} {arrow(name)}", f"{value:.4f}", registries().metrics.entry(name).summary)
    Console(file=results()).print(table)
