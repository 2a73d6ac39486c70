"""``fusekit demo``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fusekit.cli.details import details
from fusekit.cli.options import made_of, model_option, options_of
from fusekit.cli.output import Command, detail, result
from fusekit.errors import OutputError, plain
from fusekit.images.samples import NOTICE, pairs, path
from fusekit.options import FuseOptions, LoadOptions


@click.command(cls=Command, short_help="Fuse the embedded sample pair.")
@click.option("--pair", type=click.Choice(sorted(pairs())), default="ct-mri", show_default=True, help="Which sample.")
@click.option("-o", "--output", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@model_option
@options_of(LoadOptions)
@options_of(FuseOptions, "rule", "rule_options")
def demo(pair: str, output: Path, model: str | None, **choices: Any) -> None:
    """Fuse an embedded sample pair, print its metrics and the path of the fused image."""
    from fusekit.batch.run import prepare_output
    from fusekit.cli.tables import print_metrics
    from fusekit.evaluation.rate import evaluate
    from fusekit.images.files import read_image, write_image
    from fusekit.images.montage import side_by_side
    from fusekit.models.load import load
    from fusekit.pipeline import fuse

    loading, options = made_of(LoadOptions, choices), made_of(FuseOptions, choices)
    network = load(model, loading if loading.modality else replace(loading, modality=pairs()[pair]))
    prepare_output(output, [])
    sources = [path(name) for name in pairs()[pair]]
    target, panel = output / f"{pair}-fused.png", output / f"{pair}-side-by-side.png"
    again = _is_of(target, sources)
    for each in (target, panel):
        _check_own(each, again)
    fused = fuse(sources, network, options)
    for line in details(fused.record):
        detail(line)
    fused.save(target, overwrite=again)
    write_image(panel, side_by_side([read_image(each) for each in (*sources, target)]))
    rule = fused.record["rule"]
    title = f"{pair} sample, model {network.spec.id}" + (f", rule {rule['name']}" if rule else "")
    print_metrics(title, evaluate(sources, target))
    result(f"{NOTICE}\n")
    for what, path_of in (("fused image", target), ("side by side", panel), ("record", f"{target}.json")):
        result(plain(f"{what:<13} {path_of}"))


def _is_of(target: Path, sources: Sequence[Path]) -> bool:
    """Return whether a fused image is one of an earlier demo: its record tells of the same sources."""
    from fusekit.machine.files import sha256_of
    from fusekit.record import read_record

    record = read_record(target)
    return record is not None and [each.get("sha256") for each in record["sources"]] == list(map(sha256_of, sources))


def _check_own(target: Path, again: bool) -> None:
    """Raise `OutputError` for a file that no earlier demo wrote, or that cannot be written."""
    from fusekit.machine.files import check_place, is_file

    if is_file(target) and not again:
        raise OutputError(f"cannot write {target}: it is there already, and of no demo; choose another folder by -o")
    check_place(target, overwrite=again)
