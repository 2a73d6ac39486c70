"""``fusekit bench metrics``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("metrics")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--metrics", "names", help="Ids or sets, by commas; standard, or what --against has, by default.")
@click.option("--size", default=256, show_default=True, help="Side of the sample images.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch.")
@click.option("--repeats", default=3, show_default=True, help="Calls after the first; the quickest counts.")
@click.option(
    "--dtype", type=click.Choice(["float64", "float32"]), default="float64", show_default=True, help="Of our images."
)
@click.option("--against", metavar="MODULE:ATTRIBUTE", help="Race a mapping from ids to functions of A, B, fused.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def metrics(
    images: tuple[Path, ...],
    names: str | None,
    size: int,
    threads: int,
    repeats: int,
    dtype: str,
    against: str | None,
    as_json: bool,
) -> None:
    """Time metrics on the embedded sample, or on IMAGES: A, B and the fused one.

    \b
    fusekit bench metrics --size 256
    fusekit bench metrics --size 1024 --against adapter:METRICS
    """
    from fusekit_bench.metric_speed import markdown, time_metrics

    chosen = names.split(",") if names else None
    found = time_metrics(
        chosen, size, threads=threads, repeats=repeats, dtype=dtype, images=images or None, against=against
    )
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else markdown(found))
