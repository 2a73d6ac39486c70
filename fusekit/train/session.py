"""From folders and names to a trainer that is ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from fusekit.errors import TrainingError
from fusekit.loading import resolve_device
from fusekit.plugins import registries
from fusekit.registry import import_target
from fusekit.spec import ModelSpec
from fusekit.train.data import describe, find_examples, load_examples
from fusekit.train.objectives import load_perceptual
from fusekit.train.series import SERIES_PATTERN, Files, check_apart, hold_out
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
    validation_series: Sequence[str] = (),
    series_pattern: str = SERIES_PATTERN,
    perceptual: Path | None = None,
    device: str = "auto",
) -> Trainer:
    """Return a trainer of a freshly constructed ``model`` on the images of ``folders``.

    Args:
        folders: of single images, of any modality; for a bound or joint model one a source, matched by file name.
        output: folder of the run.
        recipe: how to train.
        model: a registered model.
        edge: edge operator in place of the model's own.
        names: list of file names to train on (see `fusekit.io.folders.read_names`); all by default.
        validation_names: list of file names to validate on; neither they nor their series may be trained on.
        validation_series: series to hold out of the images (and of ``names``) and to validate on.
        series_pattern: regular expression whose group 1 is the series in a file name without extension.
        perceptual: weights of the perceptual network.
        device: as in `fusekit.load`.

    Raises:
        TrainingError: images are missing, or trained and validated images or series overlap.
    """
    entry = registries().models.entry(model)
    spec: ModelSpec = entry.details["spec"]
    torch.manual_seed(recipe.seed)
    network = import_target(entry, "model")(**{**spec.config, **({"edge": edge} if edge else {})})
    examples = find_examples(folders, names, together=network.trains_on_sources)
    held_out: list[Files] = []
    if validation_series and validation_names is not None:
        raise TrainingError("validation takes either names or series, not both; leave one out")
    if validation_series:
        examples, held_out = hold_out(examples, validation_series, series_pattern)
    elif validation_names is not None:
        held_out = find_examples(folders, validation_names, together=network.trains_on_sources)
    check_apart(examples, held_out, series_pattern)
    about: dict[str, object] = {"data": describe(examples, names, series_pattern)}
    if held_out:
        about["validation"] = describe(held_out, validation_names, series_pattern)
    features = None
    if perceptual is not None and recipe.perceptual_weight > 0:
        features = load_perceptual(perceptual)
        about["perceptual"] = perceptual.name
    return Trainer(
        network,
        load_examples(examples, spec.normalization),
        recipe,
        output,
        validation=load_examples(held_out, spec.normalization),
        perceptual=features,
        about=about,
        files=examples,
        device=str(resolve_device(device)),
    )
