"""``fusekit bench folder``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fusekit.cli.output import ProgressBar

_PATH = click.Path(path_type=Path)


@click.command("folder", short_help="Folder mode beside loops, and its memory.")
@click.option("--pairs", default=1000, show_default=True, help="Pairs over which memory is followed; 0 for none.")
@click.option("--race", default=24, show_default=True, help="Pairs of each turn of the race.")
@click.option("--rounds", default=5, show_default=True, help="Turns of each way.")
@click.option("--size", default="256", show_default=True, help="A side in pixels, or HEIGHTxWIDTH.")
@click.option("--model", default="ehdran", show_default=True, help="A model, or model.weights.")
@click.option("--rule", help="Fusion rule; the model's own by default.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--dtype", default="float32", show_default=True, help="As of fusekit fuse.")
@click.option("--workers", type=int, help="Pairs fused at once; what suits the device by default.")
@click.option("--markdown", type=_PATH, metavar="FILE", help="Write the tables as Markdown.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything, each turn's times too.")
def folder(size: str, markdown: Path | None, json_file: Path | None, **choices: Any) -> None:
    """Race fusekit fuse --pairs with loops over the same pairs, and follow its memory over many.

    \b
    fusekit bench folder
    fusekit bench folder --pairs 0 --race 100 --dtype bfloat16
    """
    from fusekit.machine.files import check_writable, write_text_atomically
    from fusekit_bench import folder as bench
    from fusekit_bench.speed_images import parse_size

    request = bench.Request(size=parse_size(size), **choices)
    for path in (markdown, json_file):
        if path is not None:
            check_writable(path)
    with ProgressBar("fusing", request.total()) as bar:
        found = bench.measure(request, lambda: bar.advance())
    given = {"size": size, **{key: value for key, value in choices.items() if value is not None}}
    defaults = {parameter.name: parameter.default for parameter in folder.params}
    words = [f"--{key} {value}" for key, value in given.items() if value != defaults[key]]
    text = bench.markdown(found, " ".join(["fusekit bench folder", *words]))
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if markdown is not None:
        write_text_atomically(markdown, text + "\n")
    click.echo(text)
