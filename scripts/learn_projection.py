"""Learn the projection of the model ``mdlatlrr`` from patches of images, and write it as weights.

    python scripts/learn_projection.py DATA/ct-mri/ct DATA/ct-mri/mri --names DATA/splits.json#/ct-mri/train \
        -o weights/mdlatlrr/ct-mri.safetensors

What is printed, as JSON, are the facts of the training for a model card.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from fusekit.machine.files import sha256_of
from fusekit.train.data import Images, describe, find_cases
from fusekit.weights.store import save_weights
from fusekit_classical.latlrr import latent_low_rank, training_patches
from fusekit_classical.mdlatlrr import MDLatLRR


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--names", multiple=True, help="List of the training images: one for all folders, or one a folder.")
@click.option("--patches", default=2000, show_default=True, help="How many to learn from, half of them smooth.")
@click.option("--side", default=16, show_default=True, help="Of the patches, pixels.")
@click.option("--sparsity", default=0.4, show_default=True, help="What noise costs, the paper's λ.")
@click.option("--seed", default=3407, show_default=True)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def main(
    folders: tuple[Path, ...], names: tuple[str, ...], patches: int, side: int, sparsity: float, seed: int, output: Path
) -> None:
    """Learn a projection from the images of FOLDERS."""
    cases = find_cases(folders, names)
    images = [each[0] for each in map(Images("unit").load, (path for case in cases for path in case.files))]
    start = time.perf_counter()
    found = latent_low_rank(training_patches(images, side, patches, seed), sparsity)
    seconds = time.perf_counter() - start
    model = MDLatLRR(side=side)
    model.projection.copy_(found.projection)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_weights(model, output, model.header)
    training = {
        "patches": patches,
        "side": side,
        "sparsity": sparsity,
        "seed": seed,
        "steps": found.steps,
        "residual": found.residual,
        "seconds": round(seconds),
        "data": describe(cases, names),
    }
    click.echo(json.dumps({"file": output.name, "sha256": sha256_of(output), "training": training}, indent=2))


if __name__ == "__main__":
    main()
