"""``fusekit train``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from fusekit.cases.splits import SERIES_PATTERN
from fusekit.cli.options import parse_pairs, recipe_options
from fusekit.cli.output import ProgressBar
from fusekit.train.recipe import Recipe


@click.command(short_help="Train a model.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run; resumed if begun."
)
# --- what is trained
@click.option("--model", help="Model to train from scratch.  [default: ehdran, unless --encoder is given]")
@click.option("--encoder", metavar="NAME", help="Train a model composed of this encoder and the --decoder.")
@click.option("--decoder", metavar="NAME", help="Decoder behind the --encoder; see 'fusekit list decoders'.")
@click.option("--edge", metavar="NAME", help="Edge operator; the model's own, or none with --encoder, by default.")
@click.option("--encoder-option", "encoder_options", multiple=True, metavar="KEY=VALUE", help="Option of the encoder.")
@click.option("--decoder-option", "decoder_options", multiple=True, metavar="KEY=VALUE", help="Option of the decoder.")
# --- on what
@click.option("--names", metavar="FILE", help="Train on these only; a name a line, or FILE.json#/key/key.")
@click.option(
    "--validation-series",
    multiple=True,
    metavar="SERIES",
    help="Hold these series (patients) out and validate on them; repeatable, or separated by commas.",
)
@click.option(
    "--validation-names", metavar="FILE", help="Validate on these; neither they nor their series are trained on."
)
@click.option(
    "--series-pattern",
    metavar="PATTERN",
    default=SERIES_PATTERN,
    show_default=True,
    help="Regular expression whose group 1 is the series in a file name without extension.",
)
# --- for what
@click.option(
    "--perceptual",
    metavar="NETWORK",
    help="Network of the perceptual term: vgg16_bn (or another VGG, from the Hub), or a weights file.",
)
@recipe_options("gradient_weight", "perceptual_weight")
# --- how
@recipe_options("steps", "batch", "crop", "rate", "warm_up", "settle", "clip", "precision", "seed")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--save-every", default=250, show_default=True, help="Steps between validations and checkpoints.")
@click.option("--log-every", default=50, show_default=True, help="Steps between rows of the log.")
@click.option(
    "--log",
    type=click.Choice(["csv", "tensorboard"]),
    default="csv",
    show_default=True,
    help="log.csv, or that and event files.",
)
def train(folders: tuple[Path, ...], output: Path, **choices: Any) -> None:
    """Train a model on the images of FOLDERS; resumable at any step.

    \b
    fusekit train ct/ mri/ -o run/ --validation-series 41 --perceptual vgg16_bn
    accelerate launch -m fusekit train ct/ mri/ -o run/ …      several GPUs

    An encoder-decoder learns to reconstruct single images, whatever their modality; a bound or joint model is trained
    on images of the same name in all FOLDERS. The output folder gets checkpoint.safetensors, log.csv, config.json and,
    at the end, weights.safetensors and README.md, a model card.
    """
    from fusekit.train.session import start_training

    recipe = Recipe(**{field.name: choices[field.name] for field in fields(Recipe)})
    kept = (
        "model",
        "encoder",
        "decoder",
        "edge",
        "names",
        "validation_names",
        "series_pattern",
        "perceptual",
        "device",
    )
    trainer = start_training(
        folders,
        output,
        recipe,
        **{name: choices[name] for name in kept},
        encoder_options=parse_pairs(choices["encoder_options"], "--encoder-option"),
        decoder_options=parse_pairs(choices["decoder_options"], "--decoder-option"),
        validation_series=[each for text in choices["validation_series"] for each in text.split(",") if each],
        tensorboard=choices["log"] == "tensorboard",
    )
    with ProgressBar("training", recipe.steps) as progress:

        def report(row: dict[str, Any]) -> None:
            quality = f", reconstruction {row['psnr']:.1f} dB" if "psnr" in row else ""
            progress.show(row["step"], row["phase"], f"loss {row['loss']:.2e}{quality}")

        weights = trainer.run(log_every=choices["log_every"], save_every=choices["save_every"], report=report)
    if trainer.processes.is_main:
        click.echo(weights)
