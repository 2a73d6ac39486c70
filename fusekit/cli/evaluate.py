"""``fusekit evaluate``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusekit.cli.options import options_of
from fusekit.cli.output import Command, result_json, say
from fusekit.cli.progress import ProgressBar
from fusekit.cli.tables import console
from fusekit.errors import OptionError, plain
from fusekit.options import FuseOptions, RunOptions

if TYPE_CHECKING:
    from fusekit.evaluation.ratings import Comparison


@click.command(cls=Command, short_help="Rate fused images, and rank methods.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--fused", multiple=True, required=True, metavar="[NAME=]PATH", help="Fused file or folder; repeatable.")
@click.option("--metrics", default="standard", show_default=True, help="Ids or sets (standard, paper, all), by commas.")
@click.option("--names", metavar="FILE", help="Only these images; a name a line, or FILE.json#/key/key.")
@options_of(RunOptions, "match", "overwrite")
@options_of(FuseOptions, "nan", "page", "max_pixels")
@click.option(
    "--data-range",
    multiple=True,
    metavar="RANGE",
    help="Black and white of the sources, as --range of fuse, and fused=RANGE; by default as the records say.",
)
@click.option("--per-source", is_flag=True, help="Show the worst source's value beside each metric.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with every image's values.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write a row an image and method.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a self-contained page.")
def evaluate(
    sources: tuple[Path, ...],
    fused: tuple[str, ...],
    metrics: str,
    names: str | None,
    match: tuple[str, ...],
    overwrite: bool,
    nan: str,
    page: int | None,
    max_pixels: int,
    data_range: tuple[str, ...],
    per_source: bool,
    as_json: bool,
    csv_path: Path | None,
    html_path: Path | None,
) -> None:
    """Rate fused images against SOURCES: files, or folders matched by name.

    \b
    fusekit evaluate ct.png mri.png --fused fused.png
    fusekit evaluate ct/ mri/ --fused sfnn=out1/ --fused max=out2/ --html report.html
    """
    from fusekit.cases.folders import fused_paths
    from fusekit.evaluation.compare import matched_up, rate_all
    from fusekit.evaluation.export import to_csv, to_json
    from fusekit.evaluation.terminal import print_comparison
    from fusekit.machine.files import check_writable, is_folder, write_text_atomically
    from fusekit.record import check_not_a_source

    methods = fused_paths(fused)
    if per_source and as_json:
        raise OptionError(
            "--per-source is of the table; --json holds each source's values already, leave one of them out"
        )
    if names is not None and not all(is_folder(path) for path in sources):
        raise OptionError("--names chooses among the images of folders; leave it out, or give folders")
    if csv_path is not None and csv_path == html_path:
        raise OptionError(f"--csv and --html are both {csv_path}; name two files")
    for path in filter(None, (csv_path, html_path)):
        check_not_a_source(path, [*sources, *methods.values()])
        check_writable(path, overwrite)
    command = shlex.join(["fusekit", *sys.argv[1:]])
    comparison = matched_up(sources, methods, metrics.split(","), names, match, data_range, page, max_pixels, nan)
    with ProgressBar("rating", comparison.steps) as bar:
        rate_all(comparison, lambda done, image: bar.show(done, "rating", plain(image)))
        bar.show(comparison.steps, "rating")
    if csv_path is not None:
        write_text_atomically(csv_path, to_csv(comparison))
    if html_path is not None:
        write_text_atomically(html_path, _page(comparison, command))
    if as_json:
        result_json(to_json(comparison, command))
    else:
        print_comparison(comparison, console(), worst=per_source)
    for image, reason in comparison.failed.items():
        say(f"{image}: {reason}")
    if comparison.failed:
        raise SystemExit(1)


def _page(comparison: Comparison, command: str) -> str:
    """Return the page, with a bar while its pictures are drawn."""
    from fusekit.evaluation.page.build import to_html
    from fusekit.evaluation.page.pictures import shown

    which = shown(comparison)
    with ProgressBar("drawing", which.steps) as bar:
        page = to_html(comparison, command, which, lambda done, image: bar.show(done, "drawing", plain(image)))
        bar.show(which.steps, "drawing")
    return page
