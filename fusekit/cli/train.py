"""``fusekit train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fusekit.train.series import SERIES_PATTERN

_RECIPE = ("steps", "batch", "crop", "rate", "gradient_weight", "perceptual_weight", "settle", "precision", "seed")


@click.command(short_help="Train a model to reconstruct images.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run; resumed if begun."
)
@click.option("--model", default="ehdran", show_default=True, help="Model to train from scratch.")
@click.option("--edge", help="Edge operator in place of the model's own.")
@click.option("--names", metavar="FILE", help="Train on these only; a name a line, or FILE.json#/key/key.")
@click.option(
    "--validation-names", metavar="FILE", help="Validate on these; neither they nor their series are trained on."
)
@click.option(
    "--validation-series",
    multiple=True,
    metavar="SERIES",
    help="Hold these series (patients) out and validate on them; repeatable, or separated by commas.",
)
@click.option(
    "--series-pattern",
    default=SERIES_PATTERN,
    show_default=True,
    help="Group 1 is the series in a file name without extension.",
)
@click.option("--perceptual", type=click.Path(path_type=Path), help="VGG-19 weights (pruned) of the perceptual term.")
@click.option("--steps", default=6000, show_default=True, help="Optimiser steps.")
@click.option("--batch", default=4, show_default=True, help="Crops a step.")
@click.option("--crop", default=96, show_default=True, help="Side of the crops, pixels.")
@click.option("--rate", default=1e-3, show_default=True, help="Peak learning rate of Adam.")
@click.option("--gradient-weight", default=0.2, show_default=True, help="Weight of the gradient term.")
@click.option("--perceptual-weight", default=0.2, show_default=True, help="Weight of the perceptual term.")
@click.option("--settle", default=0.5, show_default=True, help="Last share of the steps in evaluation mode.")
@click.option("--precision", default="float32", show_default=True, help="float32 or bfloat16 (autocast).")
@click.option("--seed", default=3407, show_default=True, help="Seed of all that is drawn.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--save-every", default=250, show_default=True, help="Steps between checkpoints.")
@click.option("--log-every", default=50, show_default=True, help="Steps between rows of log.csv.")
def train(folders: tuple[Path, ...], output: Path, **choices: Any) -> None:
    """Train a model to reconstruct the images of FOLDERS; resumable at any step.

    The output folder gets checkpoint.safetensors, log.csv, config.json and, at the end, weights.safetensors.
    """
    from fusekit.train.session import start_training
    from fusekit.train.trainer import Recipe

    recipe = Recipe(**{key: choices[key] for key in _RECIPE})
    trainer = start_training(
        folders,
        output,
        recipe,
        model=choices["model"],
        edge=choices["edge"],
        names=choices["names"],
        validation_names=choices["validation_names"],
        validation_series=[each for text in choices["validation_series"] for each in text.split(",") if each],
        series_pattern=choices["series_pattern"],
        perceptual=choices["perceptual"],
        device=choices["device"],
    )
    with _Progress(recipe.steps) as report:
        weights = trainer.run(log_every=choices["log_every"], save_every=choices["save_every"], report=report)
    click.echo(weights)


class _Progress:
    """A progress bar on standard error with loss, PSNR and the time left; silent where that is no terminal."""

    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=steps, note="")

    def __enter__(self) -> Any:
        self._bar.start()
        return self.report

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, row: dict[str, Any]) -> None:
        note = f"loss {row['loss']:.2e}, reconstruction {row['psnr']:.1f} dB"
        self._bar.update(self._task, completed=row["step"], description=row["phase"], note=note)
