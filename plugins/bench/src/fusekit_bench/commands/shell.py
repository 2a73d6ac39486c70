"""``fusekit bench shell``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fusekit.cli.output import ProgressBar

_PATH = click.Path(path_type=Path)


@click.command("shell", short_help="What fusekit fuse costs as a whole process.")
@click.option("--repeats", default=7, show_default=True, help="Turns of each.")
@click.option("--model", default="ehdran", show_default=True, help="A model, or model.weights.")
@click.option("--size", default="256", show_default=True, help="A side in pixels, or HEIGHTxWIDTH.")
@click.option("--markdown", type=_PATH, metavar="FILE", help="Write the tables as Markdown.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything, each turn's times too.")
def shell(repeats: int, model: str, size: str, markdown: Path | None, json_file: Path | None) -> None:
    """Time fusekit fuse from start to end beside import torch and one fuse of a loaded model, in turns."""
    from fusekit.machine.files import check_writable, write_text_atomically
    from fusekit_bench import shell as bench
    from fusekit_bench.speed_images import parse_size

    sides = parse_size(size)
    for path in (markdown, json_file):
        if path is not None:
            check_writable(path)
    with ProgressBar("timing", repeats) as bar:
        found = bench.measure(repeats, model, sides, lambda: bar.advance())
    text = bench.markdown(found, f"fusekit bench shell --repeats {repeats} --model {model} --size {size}")
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if markdown is not None:
        write_text_atomically(markdown, text + "\n")
    click.echo(text)
