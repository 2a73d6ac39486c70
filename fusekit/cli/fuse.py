"""``fusekit fuse``: one set of sources, or folders of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusekit.cli.options import load_chosen, model_options, rule_options
from fusekit.cli.output import ProgressBar
from fusekit.cli.start import uncollected, wait_passively
from fusekit.errors import InputError, OptionError

if TYPE_CHECKING:
    from fusekit.cases.case import Job
    from fusekit.options import Options


@click.command(short_help="Fuse images, or folders of them.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Output file; a folder with --pairs."
)
@click.option("--pairs", is_flag=True, help="SOURCES are folders whose images are matched by file name.")
@click.option("--names", metavar="FILE", help="With --pairs: fuse only these; a name a line, or FILE.json#/key/key.")
@model_options
@rule_options
@click.option("--color", default="keep", show_default=True, help="Chroma: keep, gray, or from:N (source N).")
@click.option("--resize", help="'first' resamples sources of other sizes to the first one's.")
@click.option("--bit-depth", help="8, 16 or float; the first source's by default.")
@click.option("--tile", default="auto", show_default=True, help="auto, off, or the side of tiles in pixels.")
@click.option("--memory", help="What fusing may take, as 2GiB; above it images are fused in tiles.")
@click.option("--no-record", is_flag=True, help="Write no OUT.json beside the output.")
@click.option("--overwrite", is_flag=True, help="With --pairs: make again what is there already.")
@click.option("--workers", type=int, help="With --pairs: sets fused at once; what suits the device by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the record, or the summary of --pairs, as JSON.")
def fuse(sources: tuple[Path, ...], output: Path, pairs: bool, names: str | None, **choices: Any) -> None:
    """Fuse two or more registered images: fusekit fuse A B [C …] -o OUT.

    \b
    fusekit fuse ct.png mri.png -o fused.png
    fusekit fuse --pairs ct/ mri/ -o fused/          all pairs of two folders, resumable
    """
    wait_passively()
    with uncollected():
        from fusekit.options import Options

    options = Options(choices["color"], choices["resize"], choices["bit_depth"], choices["tile"], choices["memory"])
    if names is not None and not pairs:
        raise OptionError("--names chooses among the pairs of folders; add --pairs")
    if choices["workers"] is not None and (not pairs or choices["workers"] < 1):
        raise OptionError("--workers is of the pairs of folders, 1 or more; add --pairs or leave it out")
    if len(sources) < 2:
        what = "folders" if pairs else "images"
        raise InputError(f"fusing needs two or more {what}, and only {sources[0]} was given")
    if pairs:
        _fuse_folders(sources, output, names, options, choices)
    else:
        with uncollected():
            _fuse_files(sources, output, options, choices)


def _fuse_files(sources: tuple[Path, ...], output: Path, options: Options, choices: dict[str, Any]) -> None:
    from fusekit.images.files import check_format
    from fusekit.machine.files import check_writable
    from fusekit.options import BIT_DEPTHS
    from fusekit.pipeline import fuse_loaded
    from fusekit.record import check_not_a_source

    asked = BIT_DEPTHS[options.bit_depth] if options.bit_depth else None
    check_format(output, asked)
    check_writable(output)
    check_not_a_source(output, sources)
    fused = fuse_loaded(list(sources), load_chosen(choices), options=options)
    fused.save(output, record=not choices["no_record"])
    if choices["as_json"]:
        click.echo(json.dumps({"fused": str(output), **fused.record}, indent=2, ensure_ascii=False))
    else:
        click.echo(output)


def _fuse_folders(
    folders: tuple[Path, ...], output: Path, names: str | None, options: Options, choices: dict[str, Any]
) -> None:
    from fusekit.batch.run import find_jobs, fuse_jobs, prepare_output

    jobs = find_jobs(folders, output, names)
    prepare_output(output, folders)
    model = load_chosen(choices)
    with ProgressBar("fusing", len(jobs)) as progress:

        def advance(_: Job) -> None:
            progress.advance(f"{progress.speed:.1f} images/s" if progress.speed else "")

        summary = fuse_jobs(
            jobs,
            model,
            options,
            record=not choices["no_record"],
            overwrite=choices["overwrite"],
            workers=choices["workers"],
            report=advance,
        )
    if choices["as_json"]:
        click.echo(json.dumps(summary.as_dict(), indent=2, ensure_ascii=False))
    else:
        click.echo(summary.text(output))
    for name, reason in summary.failed.items():
        click.echo(f"fusekit: {name}: {reason}", err=True)
    if summary.other_settings:
        click.echo(
            f"fusekit: warning: {len(summary.other_settings)} images that were there already, among them "
            f"{summary.other_settings[0]}, were made with other settings; --overwrite makes them again",
            err=True,
        )
    if summary.interrupted:
        click.echo("fusekit: interrupted; the same command goes on where this one stopped", err=True)
        raise SystemExit(130)
    if summary.failed:
        raise SystemExit(1)
