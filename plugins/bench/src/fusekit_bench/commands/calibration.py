"""``fusekit bench calibration``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click


@click.command("calibration")
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    help="Folder with values.json and triples/; golden/metrics of $FUSEKIT_SHARED by default.",
)
@click.option("--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Write the page of the docs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def calibration(golden: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Compare every metric with published implementations, on image triples with known values.

    Exit code 1 if a deviation exceeds its tolerance.
    """
    from fusekit.machine.files import check_writable, write_text_atomically
    from fusekit_bench.calibration import as_data, calibrate, golden_folder, page

    if markdown is not None:
        check_writable(markdown)
    found = calibrate(golden_folder(golden), _progress)
    if markdown is not None:
        write_text_atomically(markdown, page(found))
    click.echo(json.dumps(as_data(found), indent=2, ensure_ascii=False) if as_json else page(found))
    exceeded = [each for each in found if not each.within]
    for each in exceeded:
        reference = each.reference
        click.echo(
            f"fusekit: {reference.metric} deviates from {reference.implementation} by {each.relative:.1e} on "
            f"{each.triples} triples; {reference.tolerance:.0e} on {reference.least} are asked for",
            err=True,
        )
    if exceeded:
        raise SystemExit(1)


def _progress(names: Sequence[str]) -> Iterable[str]:
    """Show how many triples are done, on a terminal."""
    from rich.console import Console
    from rich.progress import track

    found: Iterator[str] = iter(track(names, "triples", console=Console(stderr=True), transient=True))
    return found
