"""``fusekit bench quality``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusekit.cli.options import made_of, options_of
from fusekit.cli.output import bar_on_stderr
from fusekit.errors import OptionError
from fusekit.train.recipe import Recipe
from fusekit_bench.lists import ListsCommand, list_option

if TYPE_CHECKING:
    from fusekit_bench.quality import Request
    from fusekit_bench.quality_table import Table

_RECIPE = ("steps", "batch", "crop", "rate", "gradient_weight", "perceptual_weight", "precision")


@click.command("quality", cls=ListsCommand, short_help="The quality table and the ablation.")
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="FUSEKIT_DATA", required=True, help="Folder of the datasets."
)
@click.option("--description", type=click.Path(path_type=Path), help="JSON file of the datasets; see docs/quality.md.")
@click.option("--protocol", type=click.Choice(("series", "paper")), default="series", show_default=True)
@click.option("--ablation", is_flag=True, help="Train and rate base, base + L_grad, base + L_grad + DRGO instead.")
@list_option("--datasets", "NAME…", "Datasets; all described ones by default.")
@list_option("--methods", "MODEL[:RULE]…", "Rows; MODEL:* is every rule.")
@list_option("--metrics", "NAME…", "Metrics and sets; float:NAME on float images, as the set paper.")
@list_option("--rules", "NAME…", "Rules of the ablation; sfnn by default.")
@list_option("--seeds", "NUMBER…", "Of the draws and the ablation's trainings; 3407 3408 3409 by default.")
@click.option("--weights", multiple=True, metavar="MODEL=WEIGHTS", help="Other weights than those a model brings.")
@options_of(Recipe, *_RECIPE)
@click.option("--perceptual", type=click.Path(path_type=Path), help="Weights of the perceptual network.")
@click.option("--jobs", default=1, show_default=True, help="Processes that fuse and rate, with one thread each.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder; runs/quality-PROTOCOL by default.")
@click.option("--docs", type=click.Path(path_type=Path), help="Markdown page whose table to replace.")
@click.option("--no-figures", is_flag=True, help="Leave out the plot and the grids of images.")
def quality(data: Path, **choices: Any) -> None:
    """Re-run the quality table, or with --ablation the ablation; the same command goes on where a killed one stopped.

    \b
    fusekit bench quality --data DATA --datasets ct-mri spect-mri pet-mri
    fusekit bench quality --data DATA --ablation --perceptual vgg19.safetensors

    The output folder gets results.json, table.md, table.csv, plot.svg and a grid of images a dataset.
    """
    from fusekit_bench.quality import run
    from fusekit_bench.quality_figures import check_matplotlib
    from fusekit_bench.weights import around

    request = _request(data, choices)
    # What would fail after hours is looked at first.
    if choices["docs"]:
        around(choices["docs"], f"quality {request.title}")
    if not choices["no_figures"]:
        check_matplotlib()
    with _Progress() as progress:
        table = run(request, progress)
    _write(table, request, choices)


def _request(data: Path, choices: dict[str, Any]) -> Request:
    from fusekit_bench.quality import Request

    title = "ablation" if choices["ablation"] else choices["protocol"]
    given = {key: choices[key] for key in ("datasets", "methods", "metrics", "rules") if choices[key]}
    if choices["seeds"]:
        given["seeds"] = _numbers(choices["seeds"])
    weights = dict(_pair(text) for text in choices["weights"])
    plain = {key: choices[key] for key in ("description", "protocol", "ablation", "perceptual", "jobs", "device")}
    output = choices["output"] or Path("runs") / f"quality-{title}"
    recipe = made_of(Recipe, choices)
    return Request(data=data, output=output, weights=weights, recipe=recipe, **given, **plain)


def _numbers(texts: tuple[str, ...]) -> list[int]:
    if not all(text.isdigit() for text in texts):
        raise OptionError(f"--seeds takes whole numbers, not {' '.join(texts)!r}")
    return [int(text) for text in texts]


def _pair(text: str) -> tuple[str, str]:
    model, mark, weights = text.partition("=")
    if not mark or not weights:
        raise OptionError(f"--weights takes MODEL=WEIGHTS, not {text!r}")
    return model, weights


def _write(table: Table, request: Request, choices: dict[str, Any]) -> None:
    """Write the tables and figures into the output folder, and the table into the page of the docs."""
    from fusekit.machine.files import write_text_atomically
    from fusekit_bench.quality_export import to_csv, to_json, to_markdown
    from fusekit_bench.quality_figures import draw_grid, draw_plot
    from fusekit_bench.weights import write_between

    command, folder = _command(request, choices), request.output
    markdown = to_markdown(table, command)
    write_text_atomically(folder / "results.json", to_json(table, command))
    write_text_atomically(folder / "table.csv", to_csv(table))
    write_text_atomically(folder / "table.md", markdown + "\n")
    if choices["docs"]:
        write_between(choices["docs"], f"\n{markdown}\n", f"quality {table.title}")
    if not choices["no_figures"]:
        draw_plot(table, folder / "plot.svg")
        draw_plot(table, folder / "plot.png")
        for name, rows in table.by_dataset().items():
            draw_grid(table, rows, folder / f"grid-{name}.png", request.device)
    click.echo(markdown)
    click.echo(f"\n{folder}")


def _command(request: Request, choices: dict[str, Any]) -> str:
    """Return the command as others would give it: the data folder and files of this machine by their last part."""
    words = ["fusekit bench quality --data DATA"]
    words += ["--ablation"] if request.ablation else [f"--protocol {request.protocol}"]
    words += [
        f"--{key} {' '.join(choices[key])}" for key in ("datasets", "methods", "metrics", "rules") if choices[key]
    ]
    words += [f"--weights {model}={Path(weights).name}" for model, weights in request.weights.items()]
    if request.ablation or request.protocol == "paper":
        words.append(f"--seeds {' '.join(map(str, request.seeds))}")
        words += [f"--{key.replace('_', '-')} {choices[key]}" for key in _RECIPE]
        words += [f"--perceptual {request.perceptual.name}"] if request.perceptual else []
    return " ".join(words)


class _Progress:
    """A progress bar on standard error; where that is no terminal, a line as each part begins."""

    def __init__(self) -> None:
        self._bar = bar_on_stderr()

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def rating(self, title: str, total: int) -> Callable[[], None]:
        """Begin to rate that many pairs."""
        task = self._begin(f"rating {title}", total)
        return lambda: self._bar.advance(task)

    def training(self, title: str, steps: int) -> Callable[[dict[str, Any]], None]:
        """Begin a training."""
        task = self._begin(f"training {title}", steps)
        return lambda row: self._bar.update(task, completed=row["step"])

    def _begin(self, title: str, total: int) -> Any:
        if self._bar.disable and total:
            click.echo(f"fusekit: {title}: {total}", err=True)
        return self._bar.add_task(title, total=total)
