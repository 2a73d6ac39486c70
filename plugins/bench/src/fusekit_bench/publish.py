"""Where results go: JSON, Markdown, CSV, marked places of pages, plots; the same options for all commands."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from fusekit.cli import output
from fusekit.errors import InputError, MissingExtraError, OptionError
from fusekit.machine.files import check_regular

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_PLOTS = (".svg", ".png", ".pdf")
_PRINTED = Path("-")


class Result(NamedTuple):
    """What a bench found.

    Attributes:
        data: all of it, JSON-able but for infinities and NaN.
        text: Markdown.
        rows: lines of a table for CSV; nested values become columns of their own.
    """

    data: Mapping[str, Any]
    text: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Outputs:
    """Where to write a result; JSON may be printed by ``-`` in place of the Markdown.

    Attributes:
        markdown, json, csv: files.
        docs: page of which the text between the lines of ``mark`` is replaced.
        mark: of that page.
        overwrite: whether to replace files that are there already.
    """

    markdown: Path | None = None
    json: Path | None = None
    csv: Path | None = None
    docs: Path | None = None
    mark: str = ""
    overwrite: bool = False

    def check(self) -> None:
        """Look first at what would fail after long work.

        Raises:
            FusekitError: a file cannot be written, a page has no place for the text, or pandas is not there.
        """
        from fusekit.machine.files import check_writable

        for path in (self.markdown, self.json, self.csv):
            if path is not None and path != _PRINTED:
                check_writable(path, self.overwrite)
        if self.csv is not None:
            require("pandas", "--csv")
        if self.docs is not None:
            around(self.docs, self.mark)

    def write(self, result: Result) -> None:
        """Write everything, and print the Markdown, or JSON where that is to be printed."""
        from fusekit.machine.files import write_text_atomically

        if self.markdown is not None:
            write_text_atomically(self.markdown, result.text + "\n")
        if self.csv is not None:
            write_text_atomically(self.csv, to_csv(result.rows))
        if self.docs is not None:
            write_between(self.docs, f"\n{result.text}\n", self.mark)
        if self.json is not None and self.json != _PRINTED:
            write_text_atomically(self.json, to_json(result.data))
        if self.json == _PRINTED:
            output.result_json(to_json(result.data).rstrip())
        else:
            output.result(result.text)


def output_options(command: _Function) -> _Function:
    """Add ``--markdown``, ``--json``, ``--csv`` and ``--overwrite``, and hand them to the command as ``outputs``."""

    @functools.wraps(command)
    def with_outputs(
        *arguments: Any, markdown: Path | None, json: Path | None, csv: Path | None, overwrite: bool, **more: Any
    ) -> Any:
        return command(*arguments, outputs=Outputs(markdown, json, csv, overwrite=overwrite), **more)

    options = (
        click.option("--markdown", type=_PATH, metavar="FILE", help="Write the tables as Markdown."),
        click.option(
            "--json",
            type=_PATH,
            is_flag=False,
            flag_value=_PRINTED,
            metavar="[FILE]",
            help="Write everything as JSON; without a file, print it in place of the tables.",
        ),
        click.option("--csv", type=_PATH, metavar="FILE", help="Write the rows as CSV."),
        click.option("--overwrite", is_flag=True, help="Replace what is there already."),
    )
    wrapped: Any = with_outputs
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def to_json(data: Any) -> str:
    """Return JSON; infinities and NaN become strings."""
    from fusekit.evaluation.export import finite

    return json.dumps(finite(data), indent=2, ensure_ascii=False) + "\n"


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return CSV with a line a row; what is nested in it becomes columns ``outer.inner``."""
    require("pandas", "CSV")
    import pandas

    text: str = pandas.json_normalize(list(rows)).to_csv(index=False, na_rep="nan", lineterminator="\r\n")
    return text


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], align: str = "") -> list[str]:
    """Return a Markdown table's lines; ``align`` has a letter a column, ``r`` for those set to the right."""
    bars = ["--:" if letter == "r" else "---" for letter in align.ljust(len(headers), "l")]
    lines = [" | ".join(headers), *(" | ".join(map(str, cells)) for cells in rows)]
    found = [f"| {line} |" for line in lines]
    return [found[0].replace("|  |", "| |"), f"|{'|'.join(bars)}|", *found[1:]]


def write_between(page: Path, text: str, mark: str) -> None:
    """Put ``text`` between the lines ``<!-- MARK: begin -->`` and ``<!-- MARK: end -->`` of a Markdown page.

    Raises:
        InputError: the page cannot be read, or has no such lines.
    """
    from fusekit.machine.files import write_text_atomically

    before, after = around(page, mark)
    write_text_atomically(page, f"{before}\n{text}\n{after}")


def around(page: Path, mark: str) -> tuple[str, str]:
    """Return what stands before and after the figures of a page, the markers included; errors as `write_between`."""
    check_regular(page)
    begin_line, end_line = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    try:
        old = page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the page {page}: {error.strerror or error}") from error
    before, begin, rest = old.partition(begin_line)
    _, end, after = rest.partition(end_line)
    if not begin or not end:
        raise InputError(f"{page} has no lines {begin_line} and {end_line} to put the figures between")
    return before + begin_line, end_line + after


def require(package: str, what: str) -> None:
    """Raise `MissingExtraError` where a package of the extra ``bench`` is not installed, which ``what`` needs."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"{what} needs {package}: pip install 'fusekit-imaging[bench]', or leave it out")


def check_plot(path: Path) -> None:
    """Raise `MissingExtraError` where plots cannot be drawn, `OptionError` for a format that is not known."""
    if path.suffix not in _PLOTS:
        raise OptionError(f"--plot {path} has none of the formats {', '.join(_PLOTS)}; name the file so")
    require("matplotlib", "--plot")


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of so many inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "a figure")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the format is that of the extension."""
    from fusekit.machine.files import atomic_path

    with atomic_path(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=150)


def bare(axes: Axes) -> None:
    """Leave out what a panel of rows does not need: frame and ticks of the rows."""
    axes.tick_params(axis="x", labelsize=6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def facts() -> dict[str, str]:
    """Return ``version`` and ``code`` of fusekit, and the version of ``torch``."""
    import torch

    from fusekit.version import __version__, code_version

    return {"version": __version__, "code": code_version(), "torch": str(torch.__version__)}


def load_average() -> list[float] | None:
    """Return how many processes wanted a core over the last 1, 5 and 15 minutes, ``None`` where nobody counts."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def on(found: Mapping[str, Any]) -> str:
    """Return what was measured on, for a caption: of `facts`, a model's ``machine``, ``threads``, ``load_average``."""
    of = found["machine"]
    busy = f", load average {found['load_average'][0]:.1f} at the start" if found["load_average"] else ""
    return (
        f"{of['dtype']} on {of['device']} ({of['device_name']}), torch {found['torch']}, {found['threads']} "
        f"threads{busy}; code `{found['code']}`"
    )
