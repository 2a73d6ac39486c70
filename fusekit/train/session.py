"""From folders and names to a trainer that is ready to run."""

from __future__ import annotations

from functools import partial
from typing import Any

from fusekit.cases.case import Case
from fusekit.cases.splits import SERIES_PATTERN, check_apart, hold_out
from fusekit.errors import OptionError
from fusekit.metrics.vgg import describe_perceptual, load_perceptual
from fusekit.models.base import FusionModel
from fusekit.models.load import build_network, with_choices
from fusekit.options import DEFAULT_MODEL
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec
from fusekit.train.data import describe, find_cases, load_cases
from fusekit.train.options import Parts, TrainingData, TrainingRun
from fusekit.train.recipe import Recipe
from fusekit.train.trainer import Trainer

_COMPOSED = "composed"


def start_training(data: TrainingData, parts: Parts, recipe: Recipe, run: TrainingRun) -> Trainer:
    """Return a trainer of a freshly constructed model.

    Args:
        data: what is trained and validated on.
        parts: what is trained.
        recipe: how to train.
        run: where.

    Raises:
        OptionError, UnknownNameError: there is no such model or part, or it does not take these options.
        TrainingError: images are missing, or trained and validated images or series overlap.
    """
    if parts.perceptual is not None and not recipe.perceptual_weight:
        raise OptionError("a perceptual network has no effect at a weight of 0; leave out --perceptual, or weigh it")
    network = _construct(parts, recipe.seed)
    together, pattern = network.trains_on_sources, data.series_pattern
    find = partial(find_cases, data.folders, match=data.match, together=together, pattern=pattern)
    cases = find(data.names)
    held_out: list[Case] = []
    if data.validation_series:
        cases, held_out = hold_out(cases, data.validation_series)
    elif data.validation_names is not None:
        held_out = find(data.validation_names)
    check_apart(cases, held_out)
    about: dict[str, Any] = {"data": describe(cases, data.names)}
    if held_out:
        about["validation"] = describe(held_out, data.validation_names)
    if data.validation_series:
        about["validation"]["series"] = list(data.validation_series)
    if pattern != SERIES_PATTERN:
        about["series_pattern"] = pattern
    features = None
    if parts.perceptual is not None:
        features, about["perceptual"] = load_perceptual(parts.perceptual), describe_perceptual(parts.perceptual)
    return Trainer(
        network,
        load_cases(cases, network.spec.normalization),
        recipe,
        run.output,
        validation=load_cases(held_out, network.spec.normalization),
        perceptual=features,
        about=about,
        cases=cases,
        validation_cases=held_out,
        device=run.device,
        tensorboard=run.log == "tensorboard",
        save_every=run.save_every,
        log_every=run.log_every,
    )


def _construct(parts: Parts, seed: int) -> FusionModel:
    """Return the model to train, with initial weights drawn from ``seed``."""
    composed = {"encoder": parts.encoder, "decoder": parts.decoder, "decoder_options": dict(parts.decoder_options)}
    given = {name: value for name, value in composed.items() if value}
    if parts.model not in (None, _COMPOSED) and given:
        raise OptionError(
            f"the model {parts.model!r} has its own encoder and decoder; leave out --model, or --encoder and --decoder"
        )
    name = _COMPOSED if given else parts.model or DEFAULT_MODEL
    spec: ModelSpec = registries().models.entry(name).details["spec"]
    return build_network(spec, with_choices(spec, {**spec.config, **given}, parts.edge, parts.encoder_options), seed)
