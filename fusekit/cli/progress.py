"""That something goes on, and how far it is: on standard error, and only where that is a terminal."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fusekit.cli.asked import asked
from fusekit.machine.progress import watched

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

#: Work that is done sooner shows nothing.
_SECONDS = 2.0


def bar_on_stderr(*notes: ProgressColumn) -> Progress:
    """Return rich's bar with counts, further columns and the time left; silent where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    settle()
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *notes,
        TimeRemainingColumn(),
    )
    # Before version 15, rich ends a line when a bar stops, a disabled one too.
    console.quiet = asked.quiet or not console.is_terminal
    return Progress(*columns, console=console, disable=console.quiet)


class ProgressBar:
    """A progress bar on standard error, with a note and the time left; silent where that is no terminal.

    Args:
        description: what is being done.
        total: how many times.
    """

    def __init__(self, description: str, total: int) -> None:
        from rich.progress import TextColumn

        self._bar = bar_on_stderr(TextColumn("{task.fields[note]}", markup=False))
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


class _Activity:
    """A line that appears when work takes longer than `_SECONDS`: what is done, how far, and since when."""

    def __init__(self, title: str) -> None:
        self._state: dict[str, object] = {"description": title, "completed": 0, "total": None}
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        self._over = False
        self._timer = threading.Timer(_SECONDS, self._show)
        self._timer.daemon = True
        self._timer.start()

    def told(self, what: str, done: int, total: int) -> None:
        """Take note of how far the work is."""
        with self._lock:
            self._state = {"description": what, "completed": done, "total": total}
            if self._bar is not None:
                self._bar.update(self._bar.tasks[0].id, **self._state)  # type: ignore[arg-type]

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with self._lock:
            if self._over:
                return
            bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
            bar.add_task(**self._state)  # type: ignore[arg-type]
            bar.tasks[0].start_time = time.monotonic() - _SECONDS
            bar.start()
            self._bar = bar

    def stop(self) -> None:
        """Take the line away."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._bar is not None:
                self._bar.stop()
                self._bar = None


_shown: list[_Activity] = []


def is_terminal() -> bool:
    """Return whether standard error is a terminal on which a line can be taken away again."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


@contextmanager
def activity(title: str) -> Iterator[None]:
    """Show that the block goes on, and how far it is, where it takes longer than two seconds."""
    if asked.quiet or not is_terminal():
        yield
        return
    try:
        line = _Activity(title)
    # Where no further thread can be started, the work may do without.
    except RuntimeError:
        yield
        return
    _shown.append(line)
    try:
        with watched(line.told):
            yield
    finally:
        settle()


def settle() -> None:
    """Take the line of `activity` away, before a bar or a result is shown."""
    while _shown:
        _shown.pop().stop()
