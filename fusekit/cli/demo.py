"""``fusekit demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fusekit.cli.options import load_chosen, model_options, rule_options
from fusekit.images.samples import NOTICE, pairs, path


@click.command(short_help="Fuse the embedded sample pair.")
@click.option("--pair", type=click.Choice(sorted(pairs())), default="ct-mri", show_default=True, help="Which sample.")
@click.option("-o", "--output", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@model_options
@rule_options
def demo(pair: str, output: Path, **choices: Any) -> None:
    """Fuse an embedded sample pair by the rule l1-local, print its metrics and the path of the fused image."""
    from fusekit import evaluate
    from fusekit.batch.run import prepare_output
    from fusekit.cli.output import print_metrics
    from fusekit.images.files import write_image
    from fusekit.images.montage import side_by_side
    from fusekit.pipeline import fuse_loaded

    prepare_output(output, [])
    sources = [path(name) for name in pairs()[pair]]
    model = load_chosen(choices)
    # EH-DRAN's published rule nearly copies one source; the demo shows what the features hold of both.
    show_both = choices["rule"] is None and model.spec.rule_policy == "free"
    fused = fuse_loaded(sources, model, "l1-local" if show_both else None)
    target, panel = output / f"{pair}-fused.png", output / f"{pair}-side-by-side.png"
    fused.save(target)
    write_image(panel, side_by_side([*sources, target]))
    rule = fused.record["rule"]
    title = f"{pair} sample, model {model.spec.id}" + (f", rule {rule['name']}" if rule else "")
    print_metrics(title, evaluate(sources, target))
    click.echo(f"{NOTICE}\n")
    click.echo(f"fused image   {target}\nside by side  {panel}\nrecord        {target}.json")
