"""``fusekit bench memory``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("memory")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--size", default=4096, show_default=True, help="Side of the pair, pixels.")
@click.option("--model", default="ehdran", show_default=True, help="A model, or model.weights.")
@click.option("--rules", help="Rules, by commas; the model's own by default.")
@click.option("--tile", default="auto", show_default=True, help="As of fusekit fuse.")
@click.option("--memory", help="As of fusekit fuse.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def memory(
    images: tuple[Path, ...],
    size: int,
    model: str,
    rules: str | None,
    tile: str,
    memory: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Measure the peak memory of fusing a large pair: the embedded sample, mirrored on, or IMAGES.

    \b
    fusekit bench memory --size 4096
    fusekit bench memory --size 2048 --rules sfnn,sfnn-local,max --memory 1GiB
    """
    from fusekit_bench.memory import markdown, measure_memory

    chosen = rules.split(",") if rules else [None]
    found = measure_memory(size, model=model, rules=chosen, tile=tile, memory=memory, device=device, images=images)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else markdown(found))
