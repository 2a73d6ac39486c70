"""A command of ``fusekit``."""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="File to write.")
@click.option("--power", default=1.0, show_default=True, help="Power of the magnitudes.")
def blend(first: Path, second: Path, output: Path, power: float) -> None:
    """Fuse FIRST and SECOND by the model and the rule of this package."""
    import fusekit

    fused = fusekit.fuse([first, second], "edge-pair", rule="magnitude", rule_options={"power": power})
    fused.save(output)
    click.echo(output)
