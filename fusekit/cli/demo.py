"""``fusekit demo``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fusekit.cli.options import made_of, model_option, options_of
from fusekit.cli.output import Command, result
from fusekit.errors import plain
from fusekit.images.samples import NOTICE, pairs, path
from fusekit.options import FuseOptions, LoadOptions


@click.command(cls=Command, short_help="Fuse the embedded sample pair.")
@click.option("--pair", type=click.Choice(sorted(pairs())), default="ct-mri", show_default=True, help="Which sample.")
@click.option("-o", "--output", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@model_option
@options_of(LoadOptions)
@options_of(FuseOptions, "rule", "rule_options")
def demo(pair: str, output: Path, model: str, **choices: Any) -> None:
    """Fuse an embedded sample pair, print its metrics and the path of the fused image."""
    from fusekit.batch.run import prepare_output
    from fusekit.cli.tables import print_metrics
    from fusekit.evaluation.rate import evaluate
    from fusekit.images.files import write_image
    from fusekit.images.montage import side_by_side
    from fusekit.models.load import load
    from fusekit.pipeline import fuse

    prepare_output(output, [])
    sources = [path(name) for name in pairs()[pair]]
    loading, options = made_of(LoadOptions, choices), made_of(FuseOptions, choices)
    network = load(model, loading if loading.modality else replace(loading, modality=pairs()[pair]))
    fused = fuse(sources, network, options)
    target, panel = output / f"{pair}-fused.png", output / f"{pair}-side-by-side.png"
    fused.save(target)
    write_image(panel, side_by_side([*sources, target]))
    rule = fused.record["rule"]
    title = f"{pair} sample, model {network.spec.id}" + (f", rule {rule['name']}" if rule else "")
    print_metrics(title, evaluate(sources, target))
    result(f"{NOTICE}\n")
    for what, path_of in (("fused image", target), ("side by side", panel), ("record", f"{target}.json")):
        result(plain(f"{what:<13} {path_of}"))
