"""From folders and names to a trainer that is ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from fusekit.errors import TrainingError
from fusekit.loading import resolve_device
from fusekit.model import EncoderDecoder
from fusekit.plugins import registries
from fusekit.registry import import_target
from fusekit.spec import ModelSpec
from fusekit.train.data import describe, find_images, load_images
from fusekit.train.objectives import load_perceptual
from fusekit.train.trainer import Recipe, Trainer


def start_training(
    folders: Sequence[Path],
    output: Path,
    recipe: Recipe,
    *,
    model: str = "ehdran",
    edge: str | None = None,
    names: str | Path | None = None,
    validation_names: str | Path | None = None,
    perceptual: Path | None = None,
    device: str = "auto",
) -> Trainer:
    """Return a trainer of a freshly constructed ``model`` on the images of ``folders``.

    Args:
        folders: of single images, of any modality.
        output: folder of the run.
        recipe: how to train.
        model: a registered encoder-decoder.
        edge: edge operator in place of the model's own.
        names: list of file names to train on (see `fusekit.io.folders.read_names`); all by default.
        validation_names: list of file names to validate on; none may be trained on.
        perceptual: weights of the perceptual network.
        device: as in `fusekit.load`.

    Raises:
        TrainingError: the model does not reconstruct, images are missing, or trained and validated names overlap.
    """
    entry = registries().models.entry(model)
    spec: ModelSpec = entry.details["spec"]
    paths = find_images(folders, names)
    held_out = find_images(folders, validation_names) if validation_names is not None else []
    both = sorted(set(paths) & set(held_out))
    if both:
        raise TrainingError(f"{both[0]} is in both the training and the validation list; validate on unseen images")
    torch.manual_seed(recipe.seed)
    network = import_target(entry, "model")(**{**spec.config, **({"edge": edge} if edge else {})})
    if not isinstance(network, EncoderDecoder):
        raise TrainingError(f"the model {model!r} does not reconstruct single images; it cannot be trained this way")
    about: dict[str, object] = {"data": describe(paths, names)}
    features = None
    if perceptual is not None and recipe.perceptual_weight > 0:
        features = load_perceptual(perceptual)
        about["perceptual"] = perceptual.name
    return Trainer(
        network,
        load_images(paths, spec.normalization),
        recipe,
        output,
        validation=load_images(held_out, spec.normalization),
        perceptual=features,
        about=about,
        device=str(resolve_device(device)),
    )
