"""Train one model many times over, one choice of the recipe changed at a time, and print how well it reconstructs.

    python scripts/compare_recipes.py DATA/ct-mri/ct DATA/ct-mri/mri --names DATA/splits.json#/ct-mri/train \
        --validation-series 34 --perceptual vgg19_16x_relu4_1.pth -o RUNS

Every run is one that `fusekit train` would do; it goes on if it was interrupted and is not repeated once finished.
Validation images are held out by series (patient). The table is what docs/training.md shows.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, replace
from pathlib import Path

import click

from fusekit.train.options import Parts, TrainingData, TrainingRun
from fusekit.train.recipe import PERCEPTUAL_WEIGHT, Recipe
from fusekit.train.session import start_training

# What each run changes. Runs of another crop see as many pixels in all as the first.
CHANGES: dict[str, dict[str, float | str]] = {
    "as below": {},
    "crops of 64, as many a step": {"crop": 64, "steps": 2.25},
    "crops of 64, nine a step": {"crop": 64, "batch": 9},
    "no settling": {"settle": 0.0},
    "settling over the last 80 %": {"settle": 0.8},
    "rate 3e-4": {"rate": 3e-4},
    "rate 2e-3": {"rate": 2e-3},
    "no gradient term": {"gradient_weight": 0.0},
    "no perceptual term": {"perceptual_weight": 0.0},
    "pixel term alone": {"gradient_weight": 0.0, "perceptual_weight": 0.0},
    "float32": {"precision": "float32"},
    "three times the steps": {"steps": 3.0},
}


def changed(base: Recipe, change: dict[str, float | str]) -> Recipe:
    """Return ``base`` with ``change``; ``steps`` is a factor."""
    given = dict(change)
    steps = round(base.steps * float(given.pop("steps", 1)))
    return replace(base, steps=steps, **given)  # type: ignore[arg-type]


def best_row(log: Path) -> dict[str, str]:
    """Return the row of a run's log with the least validation loss."""
    with log.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["validation_loss"]]
    return min(rows, key=lambda row: float(row["validation_loss"]))


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--names", required=True, help="List of the training images.")
@click.option("--validation-series", multiple=True, required=True)
@click.option("--perceptual", required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--model", default="ehdran", show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--only", multiple=True, help="Only these changes.")
def main(
    folders: tuple[Path, ...],
    names: str,
    validation_series: tuple[str, ...],
    perceptual: Path,
    output: Path,
    model: str,
    steps: int,
    only: tuple[str, ...],
) -> None:
    """Train MODEL on the images of FOLDERS once for each change of the recipe."""
    base = Recipe(steps=steps, precision="bfloat16", perceptual_weight=PERCEPTUAL_WEIGHT)
    click.echo(f"`{model}`, {asdict(base)}, validation series {', '.join(validation_series)}\n")
    click.echo("| change | steps | validation PSNR (dB) | at the last step | seconds a step |\n|---|---|---|---|---|")
    for name, change in CHANGES.items():
        if only and name not in only:
            continue
        recipe = changed(base, change)
        run = output / name.replace(" ", "-").replace(",", "").replace("%", "percent")
        trainer = start_training(
            TrainingData(folders=folders, names=(names,), validation_series=validation_series),
            Parts(model=model, perceptual=perceptual if recipe.perceptual_weight else None),
            recipe,
            TrainingRun(output=run, device="cpu"),
        )
        trainer.run(log_every=25, save_every=max(1, recipe.steps // 2))
        with (run / "log.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        seconds = sorted(float(row["seconds"]) for row in rows)[len(rows) // 2]
        best, last = best_row(run / "log.csv"), rows[-1]
        click.echo(
            f"| {name} | {recipe.steps} | {float(best['validation_psnr']):.2f} (step {best['step']}) "
            f"| {float(last['validation_psnr']):.2f} | {seconds:.2f} |"
        )


if __name__ == "__main__":
    main()
