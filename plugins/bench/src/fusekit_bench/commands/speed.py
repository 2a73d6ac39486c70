"""``fusekit bench speed``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusekit.cli.output import ProgressBar
from fusekit.errors import OptionError
from fusekit_bench.lists import ListsCommand, list_option

if TYPE_CHECKING:
    from fusekit_bench.speed import Request

_PATH = click.Path(path_type=Path)
_LISTS = ("models", "rules", "sizes", "devices", "forms", "dtypes", "backends", "batch")


@click.command("speed", cls=ListsCommand, short_help="Times beside the authors' order of operations.")
@list_option("--models", "NAME…", "Models, or model.weights; ehdran by default.")
@list_option("--rules", "NAME…", "Fusion rules; each model's own by default.")
@list_option("--sizes", "SIZE…", "Sides in pixels, or HEIGHTxWIDTH; 256 by default.")
@list_option("--batch", "NUMBER…", "Pairs a call; 1 by default.")
@list_option("--devices", "NAME…", "auto, cpu, cuda or cuda:N; auto by default.")
@list_option("--forms", "NAME…", "composed, plain, or another form that the model has; composed by default.")
@list_option("--dtypes", "NAME…", "As of fusekit fuse; float32 by default.")
@list_option("--backends", "NAME…", "As of fusekit fuse; its default without.")
@click.option("--images", nargs=2, metavar="A B", help="Two images in place of the embedded CT and MRI.")
@click.option(
    "--fit",
    type=click.Choice(("resample", "mirror")),
    default="resample",
    show_default=True,
    help="How images come to a size.",
)
@click.option(
    "--against", metavar="MODULE:CALLABLE", help="Race a function: two float32 arrays (H, W) in [0, 1] → one."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch; as many as it takes by default.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="Turns that count.")
@click.option("--warm-up", type=click.IntRange(min=1), default=2, show_default=True, help="Turns before.")
@click.option(
    "--clock",
    type=click.Choice(("wall", "processor")),
    default="wall",
    show_default=True,
    help="Of a CPU; processor is one thread's own time, on a busy machine.",
)
@click.option("--no-oracle", is_flag=True, help="Leave the authors' order of operations out, as published and tuned.")
@click.option("--no-tuned", is_flag=True, help="Leave only the tuned one out.")
@click.option("--no-memory", is_flag=True, help="Do not measure the peak memory.")
@click.option("--markdown", type=_PATH, metavar="FILE", help="Write the tables as Markdown.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything, each round's times too.")
@click.option("--plot", type=_PATH, metavar="FILE", help="Draw the stages of all: .svg, .png or .pdf.")
@click.option("--docs", type=_PATH, metavar="FILE", help="Page whose tables between marks to replace.")
@click.option("--part", default="cpu", show_default=True, help="Which marks: speed PART.")
def speed(**choices: Any) -> None:
    """Time whole fusions by stage, interleaved round by round with the authors' order of operations.

    \b
    fusekit bench speed --models ehdran dilran --sizes 256 1024 --dtypes float32 bfloat16 --threads 2
    fusekit bench speed --sizes 300x417 --against adapter:fuse --json speed.json --plot speed.svg
    """
    from fusekit_bench.speed import measure
    from fusekit_bench.speed_table import caption, markdown, oracle_note, show

    request = _request(choices)
    _check_outputs(choices)
    with ProgressBar("racing", len(request.cases()) * request.rounds) as bar:
        found = measure(request, bar.advance)
    command = _command(choices)
    _write(found, markdown(found, command), choices)
    click.echo(f"{caption(found, command)} {oracle_note(found)}")
    show(found)


def _request(choices: Mapping[str, Any]) -> Request:
    from fusekit_bench.speed import Request
    from fusekit_bench.speed_images import parse_size

    lists: dict[str, Any] = {key: choices[key] for key in _LISTS if choices[key]}
    if "sizes" in lists:
        lists["sizes"] = [parse_size(text) for text in lists["sizes"]]
    if "batch" in lists:
        lists["batches"] = _numbers(lists.pop("batch"))
    plain = {key: choices[key] for key in ("images", "fit", "against", "threads", "rounds", "warm_up", "clock")}
    plain |= {key: not choices[f"no_{key}"] for key in ("oracle", "tuned", "memory")}
    return Request(**lists, **plain)


def _numbers(texts: tuple[str, ...]) -> list[int]:
    if not all(text.isdigit() for text in texts):
        raise OptionError(f"--batch takes whole numbers, not {' '.join(texts)!r}")
    return [int(text) for text in texts]


def _check_outputs(choices: Mapping[str, Any]) -> None:
    """Look first at what would fail after long races."""
    from fusekit.machine.files import check_writable
    from fusekit_bench.speed_figure import check_plot
    from fusekit_bench.weights import around

    for key in ("markdown", "json_file", "plot"):
        if choices[key]:
            check_writable(choices[key])
    if choices["plot"]:
        check_plot(choices["plot"])
    if choices["docs"]:
        around(choices["docs"], f"speed {choices['part']}")


def _write(found: Mapping[str, Any], text: str, choices: Mapping[str, Any]) -> None:
    from fusekit.machine.files import write_text_atomically
    from fusekit_bench.speed_figure import draw
    from fusekit_bench.weights import write_between

    if choices["json_file"]:
        write_text_atomically(choices["json_file"], json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if choices["markdown"]:
        write_text_atomically(choices["markdown"], text + "\n")
    if choices["plot"]:
        draw(found, choices["plot"])
    if choices["docs"]:
        write_between(choices["docs"], f"\n{text}\n", f"speed {choices['part']}")


def _command(choices: Mapping[str, Any]) -> str:
    """Return the command as others would give it: files of this machine by their last part."""
    words = ["fusekit bench speed"]
    words += [f"--{key} {' '.join(choices[key])}" for key in _LISTS if choices[key]]
    if choices["images"]:
        words.append(f"--images {' '.join(Path(each).name for each in choices['images'])}")
    words += ["--fit mirror"] if choices["fit"] == "mirror" else []
    words += [f"--{key} {choices[key]}" for key in ("against", "threads") if choices[key]]
    words += [f"--rounds {choices['rounds']}"]
    words += ["--clock processor"] if choices["clock"] == "processor" else []
    return " ".join([*words, *(f"--no-{key}" for key in ("oracle", "tuned") if choices[f"no_{key}"])])
