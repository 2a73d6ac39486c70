"""``fusekit train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fusekit.cli.options import made_of, options_of
from fusekit.cli.output import Command, note, result
from fusekit.cli.progress import ProgressBar
from fusekit.errors import plain
from fusekit.train.options import Parts, TrainingData, TrainingRun
from fusekit.train.recipe import Recipe


@click.command(cls=Command, short_help="Train a model.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run; resumed if begun."
)
@options_of(Parts, "model", "encoder", "decoder", "edge", "encoder_options", "decoder_options", "init")
@options_of(TrainingData)
@options_of(Parts, "perceptual")
@options_of(Recipe, "gradient_weight", "perceptual_weight")
@options_of(Recipe, "steps", "batch", "crop", "rate", "warm_up", "settle", "clip", "precision", "seed")
@options_of(TrainingRun)
@click.pass_context
def train(context: click.Context, /, folders: tuple[Path, ...], output: Path, **choices: Any) -> None:
    """Train a model on the images of FOLDERS; resumable at any step.

    \b
    fusekit train ct/ mri/ -o run/
    fusekit train ct/ mri/ -o run/ --steps 9000                more steps of the same run
    fusekit train ct/ mri/ -o new/ --init run/                 another run, from these weights
    accelerate launch -m fusekit train ct/ mri/ -o run/ …      several GPUs

    An encoder-decoder learns to reconstruct single images, whatever their modality; a bound or joint model is trained
    on images of the same name in all FOLDERS, one of two sources in each two of them. The output folder gets
    checkpoint.safetensors, log.csv, config.json and, at the end, weights.safetensors and README.md, a model card; as a
    whole it is what --weights takes.
    """
    from fusekit.train.session import start_training

    recipe, run = made_of(Recipe, choices), made_of(TrainingRun, choices, output=output)
    trainer = start_training(made_of(TrainingData, choices, folders=folders), made_of(Parts, choices), recipe, run)
    plan = ""
    if context.get_parameter_source("steps") == ParameterSource.DEFAULT:
        of = "sets of sources" if trainer.model.trains_on_sources else "images"
        plan = (
            f"training {trainer.model.spec.id} for {recipe.steps} steps on {len(trainer.examples)} {of}; --steps sets "
        )
        plan += "another number"
    with ProgressBar("training", recipe.steps) as progress:

        def report(row: dict[str, Any]) -> None:
            nonlocal plan
            if plan:
                note(plan)
                plan = ""
            quality = f", reconstruction {row['psnr']:.1f} dB" if "psnr" in row else ""
            progress.show(row["step"], row["phase"], f"loss {row['loss']:.2e}{quality}")

        weights = trainer.run(report=report)
    if trainer.processes.is_main:
        result(plain(weights))
