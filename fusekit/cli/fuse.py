"""``fusekit fuse``: one set of sources, or folders of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusekit.cli.details import details
from fusekit.cli.options import flag_of, made_of, model_option, options_of
from fusekit.cli.output import Command, detail, result, result_json, say, warn
from fusekit.cli.progress import ProgressBar
from fusekit.cli.start import uncollected, wait_passively
from fusekit.errors import InputError, OptionError, plain, some
from fusekit.machine.files import is_file, is_folder
from fusekit.options import BIT_DEPTHS, MOST_SOURCES, FuseOptions, LoadOptions, RunOptions, chosen_names

if TYPE_CHECKING:
    from fusekit.cases.case import Case


#: Lines of reasons that are shown for sets that failed.
_MOST_REASONS = 20


@click.command(cls=Command, short_help="Fuse images, or folders of them.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Output file; a folder with --pairs."
)
@click.option("--preview", type=click.Path(path_type=Path), help="Write sources and result side by side, for looking.")
@click.option("--pairs", is_flag=True, help="SOURCES are folders whose images are matched by file name.")
@model_option
@options_of(LoadOptions)
@options_of(FuseOptions)
@options_of(RunOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the record, or the summary of --pairs, as JSON.")
def fuse(
    sources: tuple[Path, ...],
    output: Path,
    preview: Path | None,
    pairs: bool,
    model: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Fuse two or more registered images: fusekit fuse A B [C …] -o OUT.

    \b
    fusekit fuse ct.png mri.png -o fused.png
    fusekit fuse --pairs ct/ mri/ -o fused/          all pairs of two folders, resumable
    """
    wait_passively()
    loading = made_of(LoadOptions, choices)
    options, run = made_of(FuseOptions, choices), made_of(RunOptions, choices)
    if not pairs:
        _refuse_choices_of_pairs(run)
    _check_number(sources, pairs, options.many)
    if pairs:
        if preview is not None:
            raise OptionError("--preview shows one set of sources; leave it out with --pairs")
        _fuse_folders(sources, output, model, loading, options, run, as_json)
    else:
        with uncollected():
            _fuse_files(sources, output, preview, model, loading, options, run, as_json)


def _refuse_choices_of_pairs(run: RunOptions) -> None:
    """Raise `OptionError` for choices that one set of sources has no use for."""
    flags = {each.name: flag_of(each) for each in fields(run)}
    given = [str(flags[name]) for name in chosen_names(run) if name not in ("record", "overwrite")]
    if given:
        are = "is" if len(given) == 1 else "are"
        raise OptionError(f"{', '.join(given)} {are} for the pairs of folders; add --pairs, or leave it out")


def _check_number(sources: Sequence[Path], pairs: bool, many: bool) -> None:
    """Raise `InputError` for too few sources, and for so many that they are more likely a slip of the shell's ``*``."""
    what = "folders" if pairs else "images"
    if len(sources) < 2:
        raise InputError(f"fusing needs two or more {what}, and only {sources[0]} was given")
    if len(sources) > MOST_SOURCES and not many:
        each = "each image would be made of as many" if pairs else "they would become one image"
        remedy = "" if pairs else "to fuse the images of folders one by one, name the folders, with --pairs; "
        raise InputError(
            f"{len(sources)} {what} are given, {sources[0]} to {sources[-1]}, and {each}: {remedy}"
            "if that is meant, add --many"
        )


def _fuse_files(
    sources: tuple[Path, ...],
    output: Path,
    preview: Path | None,
    model: str | None,
    loading: LoadOptions,
    options: FuseOptions,
    run: RunOptions,
    as_json: bool,
) -> None:
    from fusekit.cli.preview import check_preview, preview_of
    from fusekit.images.files import check_format, write_image
    from fusekit.machine.files import check_place, check_writable, remove_stale_partials
    from fusekit.models.load import load
    from fusekit.pipeline import fuse
    from fusekit.record import check_output

    _check_kinds(sources, output)
    asked = BIT_DEPTHS[options.bit_depth] if options.bit_depth else None
    check_format(output, asked)
    check_output(output, sources, record=run.record, overwrite=run.overwrite)
    check_writable(output)
    if preview is not None:
        check_preview(preview, output, sources, run.overwrite)
    remove_stale_partials(output.parent)
    network = load(model, loading)
    detail(f"loaded {network!r}")
    fused = fuse(list(sources), network, options)
    for line in details(fused.record):
        detail(line)
    picture = None if preview is None else preview_of(sources, network, options, fused)
    record = fused.save(output, record=run.record, overwrite=run.overwrite)
    if preview is not None and picture is not None:
        check_place(preview, run.overwrite)
        write_image(preview, picture)
    if as_json:
        result_json({"fused": str(output), **record})
    else:
        result(plain(output))


def _check_kinds(sources: Sequence[Path], output: Path) -> None:
    """Raise `InputError` where folders are given and an image of each cannot be meant, as for a series of slices."""
    from fusekit.cases.patterns import extension_of

    folders = [path for path in sources if is_folder(path)]
    if len(folders) == len(sources) and not extension_of(output.name):
        raise InputError(f"{folders[0]} and the other sources are folders; add --pairs to fuse their images one by one")


def _fuse_folders(
    folders: tuple[Path, ...],
    output: Path,
    model: str | None,
    loading: LoadOptions,
    options: FuseOptions,
    run: RunOptions,
    as_json: bool,
) -> None:
    from fusekit.batch.ranges import of_folders
    from fusekit.batch.run import find_cases, fuse_cases, prepare_output
    from fusekit.models.load import load

    files = [path for path in folders if is_file(path)]
    if files:
        raise InputError(f"{files[0]} is a file, and --pairs takes folders; leave it out, or name the folders")
    options = of_folders(options, folders)
    cases = find_cases(folders, output, run.names, run.match)
    network = load(model, loading)
    prepare_output(output, folders)
    detail(f"loaded {network!r}; {len(cases)} sets of images to fuse")
    with ProgressBar("fusing", len(cases)) as progress:

        def advance(case: Case) -> None:
            detail(f"{case.name}: through")
            progress.advance(f"{progress.speed:.1f} images/s" if progress.speed else "")

        summary = fuse_cases(cases, network, options, replace(run, report=advance))
    if as_json:
        result_json(summary.as_dict())
    else:
        result(plain(summary.text(output)))
    reasons = summary.reasons()
    for reason, names in [*reasons.items()][:_MOST_REASONS]:
        who = names[0] if len(names) == 1 else f"{len(names)} sets ({some(names)})"
        say(f"{who}: {reason}")
    if len(reasons) > _MOST_REASONS:
        left = sum(map(len, [*reasons.values()][_MOST_REASONS:]))
        say(f"and {left} more sets failed; --json tells of all")
    if summary.other_settings:
        warn(
            f"{len(summary.other_settings)} images that were there already, among them {summary.other_settings[0]}, "
            "were made with other settings; --overwrite makes them again"
        )
    if summary.interrupted:
        say("interrupted; the same command goes on where this one stopped")
        raise SystemExit(130)
    if summary.failed:
        raise SystemExit(1)
