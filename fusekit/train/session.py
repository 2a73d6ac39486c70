"""From folders and names to a trainer that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusekit.cases.case import Case
from fusekit.cases.splits import SERIES_PATTERN, check_apart, hold_out
from fusekit.errors import OptionError, TrainingError
from fusekit.metrics.vgg import describe_perceptual, load_perceptual
from fusekit.models.base import FusionModel
from fusekit.models.load import build_network, with_choices
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec
from fusekit.train.data import describe, find_cases, load_cases
from fusekit.train.recipe import Recipe
from fusekit.train.trainer import Trainer

_COMPOSED = "composed"


def start_training(
    folders: Sequence[Path],
    output: Path,
    recipe: Recipe,
    *,
    model: str | None = None,
    encoder: str | None = None,
    decoder: str | None = None,
    edge: str | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    decoder_options: Mapping[str, Any] | None = None,
    names: str | Path | None = None,
    validation_names: str | Path | None = None,
    validation_series: Sequence[str] = (),
    series_pattern: str = SERIES_PATTERN,
    perceptual: str | Path | None = None,
    device: str = "auto",
    tensorboard: bool = False,
) -> Trainer:
    """Return a trainer of a freshly constructed model on the images of ``folders``.

    Args:
        folders: of single images, of any modality; for a bound or joint model one a source, matched by file name.
        output: folder of the run.
        recipe: how to train.
        model: a registered model; ``ehdran`` by default.
        encoder: a registered encoder, to train a model composed of it and ``decoder`` instead.
        decoder: the registered decoder of a composed model.
        edge: edge operator in place of the model's own; a composed model has none by default.
        encoder_options: keyword arguments of the encoder.
        decoder_options: keyword arguments of a composed model's decoder.
        names: list of file names to train on (see `fusekit.cases.folders.read_names`); all by default.
        validation_names: list of file names to validate on; neither they nor their series may be trained on.
        validation_series: series to hold out of the images (and of ``names``) and to validate on.
        series_pattern: regular expression whose group 1 is the series in a file name without extension.
        perceptual: network of the perceptual term, see `fusekit.metrics.vgg.find_perceptual`.
        device: as in `fusekit.load`.
        tensorboard: also write event files for TensorBoard.

    Raises:
        OptionError, UnknownNameError: there is no such model or part, or it does not take these options.
        TrainingError: images are missing, or trained and validated images or series overlap.
    """
    network = _construct(recipe.seed, model, encoder, decoder, edge, encoder_options, decoder_options)
    together = network.trains_on_sources
    cases = find_cases(folders, names, together=together, pattern=series_pattern)
    held_out: list[Case] = []
    if validation_series and validation_names is not None:
        raise TrainingError("validation takes either names or series, not both; leave one out")
    if validation_series:
        cases, held_out = hold_out(cases, validation_series)
    elif validation_names is not None:
        held_out = find_cases(folders, validation_names, together=together, pattern=series_pattern)
    check_apart(cases, held_out)
    about: dict[str, Any] = {"data": describe(cases, names)}
    if held_out:
        about["validation"] = describe(held_out, validation_names)
    if validation_series:
        about["validation"]["series"] = list(validation_series)
    if series_pattern != SERIES_PATTERN:
        about["series_pattern"] = series_pattern
    features = None
    if perceptual is not None and recipe.perceptual_weight > 0:
        features, about["perceptual"] = load_perceptual(perceptual), describe_perceptual(perceptual)
    return Trainer(
        network,
        load_cases(cases, network.spec.normalization),
        recipe,
        output,
        validation=load_cases(held_out, network.spec.normalization),
        perceptual=features,
        about=about,
        cases=cases,
        validation_cases=held_out,
        device=device,
        tensorboard=tensorboard,
    )


def _construct(
    seed: int,
    model: str | None,
    encoder: str | None,
    decoder: str | None,
    edge: str | None,
    encoder_options: Mapping[str, Any] | None,
    decoder_options: Mapping[str, Any] | None,
) -> FusionModel:
    """Return the model to train, with initial weights drawn from ``seed``."""
    parts = {"encoder": encoder, "decoder": decoder, "decoder_options": decoder_options}
    given = {name: value for name, value in parts.items() if value}
    if model not in (None, _COMPOSED) and given:
        raise OptionError(
            f"the model {model!r} has its own encoder and decoder; leave out --model, or --encoder and --decoder"
        )
    spec: ModelSpec = registries().models.entry(_COMPOSED if given else model or "ehdran").details["spec"]
    return build_network(spec, with_choices(spec, {**spec.config, **given}, edge, encoder_options), seed)
