"""``fusekit bench``: tables that anyone can re-run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusekit.cli.options import options_of as fields_of
from fusekit.cli.output import Group, say
from fusekit.cli.output import result as print_result
from fusekit.cli.progress import ProgressBar, bar_on_stderr
from fusekit.errors import OptionError
from fusekit.train.recipe import Recipe
from fusekit_bench import requests
from fusekit_bench.options import ListsCommand, command_line, options_of, request_of
from fusekit_bench.publish import Outputs, Result, around, check_plot, output_options, require, write_between

if TYPE_CHECKING:
    from fusekit_bench.quality.table import Table

_PATH = click.Path(path_type=Path)


@click.group(cls=Group)
def bench() -> None:
    """Re-run the figures of docs and model cards."""


@bench.command("quality", cls=ListsCommand, short_help="The quality table and the ablation.")
@options_of(requests.Quality)
@click.option("--weights", multiple=True, metavar="MODEL=WEIGHTS", help="Other weights than those a model brings.")
@click.option(
    "--fused",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Fused images of others as a row: by case, or a folder a dataset.",
)
@fields_of(Recipe, *requests.RECIPE)
@click.option("-o", "--output", type=_PATH, help="Folder; runs/quality-PROTOCOL by default.")
@click.option("--docs", type=_PATH, help="Markdown page whose table to replace.")
@click.option("--part", help="Which marks: quality PART; the protocol by default.")
@click.option("--no-figures", "figures", is_flag=True, help="Leave out the plot and the pages of images.")
@click.pass_context
def quality(
    context: click.Context,
    /,
    weights: tuple[str, ...],
    fused: tuple[str, ...],
    output: Path | None,
    docs: Path | None,
    part: str | None,
    figures: bool,
    **choices: Any,
) -> None:
    """Re-run the quality table, or with --ablation the ablation; the same command goes on where a killed one stopped.

    \b
    fusekit bench quality --data DATA --datasets ct-mri spect-mri pet-mri
    fusekit bench quality --data DATA --ablation --perceptual vgg19.safetensors
    fusekit bench quality --data DATA --methods all --fused SAFusion=published/SAFusion

    The output folder gets results.json, table.md, table.csv, plot.svg and a page of images a dataset.
    """
    from fusekit.cases.folders import fused_paths
    from fusekit_bench.quality.export import result
    from fusekit_bench.quality.runner import run

    folder = output or Path("runs") / f"quality-{'ablation' if choices['ablation'] else choices['protocol']}"
    recipe = Recipe(**{key: choices[key] for key in requests.RECIPE})
    given = dict(_pair(text) for text in weights)
    published = fused_paths(fused)
    request = request_of(requests.Quality, choices, weights=given, fused=published, recipe=recipe, output=folder)
    # What would fail after hours is looked at first.
    table_md, results, table_csv = (folder / name for name in ("table.md", "results.json", "table.csv"))
    outputs = Outputs(table_md, results, table_csv, docs=docs, mark=f"quality {part or request.title}")
    if docs is not None:
        around(docs, outputs.mark)
    if folder.is_dir() and not (folder / "cache").is_dir():
        # Of no run before; one that goes on replaces what it wrote.
        outputs.check()
    require("pandas", "fusekit bench quality")
    if not figures:
        require("matplotlib", "a figure (--no-figures leaves it out)")
    with _Progress() as progress:
        table = run(request, progress)
    outputs.write(result(table, command_line(context)))
    if not figures:
        _draw(table, request)
    print_result(f"\n{folder}")


def _pair(text: str) -> tuple[str, str]:
    model, mark, weights = text.partition("=")
    if not mark or not weights:
        raise OptionError(f"--weights takes MODEL=WEIGHTS, not {text!r}")
    return model, weights


def _draw(table: Table, request: requests.Quality) -> None:
    from fusekit_bench.quality.figures import draw_page, draw_plot

    for suffix in ("svg", "png"):
        draw_plot(table, request.output / f"plot.{suffix}")
    for dataset in dict.fromkeys(row.dataset.name for row in table.rows):
        rows = [row for row in table.rows if row.dataset.name == dataset]
        draw_page(table, rows, request.output / f"page-{dataset}.png", request.device)


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
            say(f"{title}: {total}")
        return self._bar.add_task(title, total=total)


@bench.command("calibration")
@click.option(
    "--golden", type=_PATH, help="Folder with values.json and triples/; golden/metrics of $FUSEKIT_SHARED by default."
)
@output_options
def calibration(golden: Path | None, outputs: Outputs) -> None:
    """Compare every metric with published implementations, on image triples with known values.

    The Markdown is the page of the docs. Exit code 1 if a deviation exceeds its tolerance.
    """
    from fusekit_bench.calibration.calibrate import calibrate, golden_folder, result

    outputs.check()
    found = calibrate(golden_folder(golden), _triples)
    outputs.write(result(found))
    exceeded = [each for each in found if not each.within]
    for each in exceeded:
        reference = each.reference
        say(
            f"{reference.metric} deviates from {reference.implementation} by {each.relative:.1e} on "
            f"{each.triples} triples; {reference.tolerance:.0e} on {reference.least} are asked for"
        )
    if exceeded:
        raise SystemExit(1)


def _triples(names: Sequence[str]) -> Iterable[str]:
    """Show how many triples are done, on a terminal."""
    with ProgressBar("triples", len(names)) as bar:
        for name in names:
            yield name
            bar.advance()


@bench.command("metrics", short_help="Times of metrics.")
@click.argument("images", nargs=-1, type=_PATH)
@options_of(requests.Metrics)
@output_options
def metrics(outputs: Outputs, **choices: Any) -> None:
    """Time metrics on the embedded sample, or on IMAGES: A, B and the fused one.

    \b
    fusekit bench metrics --size 256
    fusekit bench metrics --size 1024 --against adapter:METRICS
    """
    from fusekit_bench.speed.metrics import time_metrics

    outputs.check()
    outputs.write(time_metrics(request_of(requests.Metrics, choices)))


@bench.command("speed", cls=ListsCommand, short_help="Times beside the authors' order of operations.")
@options_of(requests.Speed)
@output_options
@click.option("--plot", type=_PATH, metavar="FILE", help="Draw the stages of all: .svg, .png or .pdf.")
@click.option("--docs", type=_PATH, metavar="FILE", help="Page whose tables between marks to replace.")
@click.option("--part", default="cpu", show_default=True, help="Which marks: speed PART.")
@click.pass_context
def speed(
    context: click.Context, /, outputs: Outputs, plot: Path | None, docs: Path | None, part: str, **choices: Any
) -> None:
    """Time whole fusions by stage, interleaved round by round with the authors' order of operations.

    With --compare or --models all, model beside model: parameters, operations, memory and seconds by size.

    \b
    fusekit bench speed --models ehdran dilran --sizes 256 1024 --dtypes float32 bfloat16 --threads 2
    fusekit bench speed --models all --sizes 256 1024 --threads 2 --keep runs/speed
    fusekit bench speed --sizes 300x417 --against adapter:fuse --json speed.json --plot speed.svg
    """
    from fusekit.machine.files import check_writable

    request = request_of(requests.Speed, choices)
    outputs = replace(outputs, docs=docs, mark=f"speed {part}")
    outputs.check()
    if request.compares:
        if plot is not None:
            raise OptionError("--plot draws the stages of races, and models that stand beside each other have none")
        outputs.write(_compared(request, command_line(context)))
        return
    if plot is not None:
        check_writable(plot, outputs.overwrite)
        check_plot(plot)
    from fusekit_bench.speed.cases import cases
    from fusekit_bench.speed.runner import measure
    from fusekit_bench.speed.table import draw, result

    with ProgressBar("racing", len(cases(request)) * request.rounds) as bar:
        found = measure(request, bar.advance)
    outputs.write(result(found, command_line(context)))
    if plot is not None:
        draw(found, plot)


def _compared(request: requests.Speed, command: str) -> Result:
    from fusekit.cli.start import wait_passively

    # Before torch is imported, and for the processes of the models: they are timed as `fusekit fuse` runs.
    wait_passively()
    from fusekit_bench.speed.models import compare, steps
    from fusekit_bench.speed.models_table import result

    with ProgressBar("comparing", steps(request)) as bar:
        found = compare(request, bar.advance)
    return result(found, command)


@bench.command("memory", short_help="Peak memory of large pairs.")
@click.argument("images", nargs=-1, type=_PATH)
@options_of(requests.Memory)
@output_options
def memory(outputs: Outputs, **choices: Any) -> None:
    """Measure the peak memory of fusing a large pair: the embedded sample, mirrored on, or IMAGES.

    \b
    fusekit bench memory --size 4096
    fusekit bench memory --size 2048 --rules sfnn,sfnn-local,max --memory 1GiB
    """
    from fusekit_bench.speed.command import measure_memory

    outputs.check()
    outputs.write(measure_memory(request_of(requests.Memory, choices)))


@bench.command("folder", short_help="Folder mode beside loops, and its memory.")
@options_of(requests.Folder)
@output_options
@click.pass_context
def folder(context: click.Context, /, outputs: Outputs, **choices: Any) -> None:
    """Race fusekit fuse --pairs with loops over the same pairs, and follow its memory over many.

    \b
    fusekit bench folder
    fusekit bench folder --pairs 0 --race 100 --dtype bfloat16
    """
    from fusekit_bench.speed.folder import measure, total

    request = request_of(requests.Folder, choices)
    outputs.check()
    with ProgressBar("fusing", total(request)) as bar:
        found = measure(request, command_line(context), bar.advance)
    outputs.write(found)


@bench.command("shell", short_help="What fusekit fuse costs as a whole process.")
@options_of(requests.Shell)
@output_options
@click.pass_context
def shell(context: click.Context, /, outputs: Outputs, **choices: Any) -> None:
    """Time fusekit fuse from start to end beside import torch and one fuse of a loaded model, round by round."""
    from fusekit_bench.speed.command import measure

    request = request_of(requests.Shell, choices)
    outputs.check()
    with ProgressBar("timing", request.repeats) as bar:
        found = measure(request, command_line(context), bar.advance)
    outputs.write(found)


@bench.command("weights", short_help="Figures of a model card.")
@click.argument("model")
@click.argument("folders", nargs=-1, required=True, type=_PATH)
@click.option("--names", metavar="FILE", help="Only these pairs; a name a line, or FILE.json#/key/key.")
@click.option("--rules", default="sfnn,sfnn-local,l1-local,mean,max", show_default=True, help="Rules to fuse with.")
@click.option("--metrics", help="Metrics, separated by commas; all by default.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--card", type=_PATH, help="Model card whose figures to replace.")
@output_options
def weights(
    model: str,
    folders: tuple[Path, ...],
    names: str | None,
    rules: str,
    metrics: str | None,
    device: str,
    card: Path | None,
    outputs: Outputs,
) -> None:
    """Score MODEL's weights on the pairs of FOLDERS: reconstruction, and metrics of the fused images."""
    from fusekit_bench.cards import score_weights

    outputs.check()
    if card is not None:
        around(card, "figures")
    scores = score_weights(model, folders, names, rules.split(","), metrics.split(",") if metrics else None, device)
    if card is not None:
        write_between(card, scores.text, "figures")
    outputs.write(scores)
