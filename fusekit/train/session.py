"""From folders and names to a trainer that is ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fusekit.cases.case import Case
from fusekit.cases.splits import SERIES_PATTERN, check_apart, hold_out, series_to_hold_out
from fusekit.choices import for_each
from fusekit.errors import OptionError, OutputError
from fusekit.images.files import check_page
from fusekit.machine.files import same_file
from fusekit.metrics.vgg import describe_perceptual, load_perceptual
from fusekit.models.base import FusionModel
from fusekit.train.construct import construct
from fusekit.train.data import Images, describe, find_cases, load_cases, ranges_of, read_without_gaps
from fusekit.train.options import NO_VALIDATION, Parts, TrainingData, TrainingRun
from fusekit.train.recipe import Recipe
from fusekit.train.trainer import Trainer

_NO_PERCEPTUAL = (
    "the perceptual term is left out of the objective, as no network for it is named; --perceptual vgg16_bn (fetched "
    "once from the Hub) or --perceptual FILE takes it in, and --perceptual-weight 0 says that it is not wanted"
)
_HELD_OUT = (
    "the series {!r} ({} of {} images) is held out, to choose the best weights by; --validation-series takes another, "
    "or none for no validation"
)
_NOTHING_HELD_OUT = (
    "no image is held out, as the names do not tell series (patients) of which one would do, so the last weights will "
    "be the final ones; --validation-names FILE or --series-pattern chooses, and --validation-series none says that it "
    "is meant"
)


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
    if parts.perceptual is not None and recipe.perceptual_weight == 0:
        raise OptionError("a perceptual network has no effect at a weight of 0; leave out --perceptual, or weigh it")
    _check_output(data, run)
    doubts = [] if parts.perceptual is not None or recipe.perceptual_weight is not None else [_NO_PERCEPTUAL]
    recipe = recipe.weighed(parts.perceptual is not None)
    network, init = construct(parts, recipe.seed, run.output)
    sources, pattern = sources_of_a_case(network, len(data.folders)), data.series_pattern
    find = partial(find_cases, data.folders, match=data.match, sources=sources, pattern=pattern)
    cases = find(data.names)
    held_out: list[Case] = []
    series = validation_series(data, cases)
    if series:
        found = len(cases)
        cases, held_out = hold_out(cases, series)
        if not data.validation_series:
            doubts.append(_HELD_OUT.format(series[0], len(held_out), found))
    elif data.validation_names is not None:
        held_out = find([data.validation_names])
    elif not data.validation_series:
        doubts.append(_NOTHING_HELD_OUT)
    check_apart(cases, held_out)
    about: dict[str, Any] = {"data": describe(cases, data.names)}
    if init is not None:
        about["init"] = init
    if held_out:
        about["validation"] = describe(held_out, [] if data.validation_names is None else [data.validation_names])
    if series:
        about["validation"]["series"] = list(series)
    if pattern != SERIES_PATTERN:
        about["series_pattern"] = pattern
    ranges = for_each(data.range, data.folders, {}, "--range", "auto")
    chosen: dict[str, Any] = {"range": ranges if data.range else None, "page": data.page}
    chosen["nan"] = data.nan if data.nan != "refuse" else None
    about["data"] |= {name: said for name, said in chosen.items() if said is not None}
    images = _images(data, ranges, network, [*cases, *held_out])
    examples, validation = load_cases(cases, images), load_cases(held_out, images)
    check_page(data.page, images.paged)
    doubts += images.doubts
    features = None
    if parts.perceptual is not None:
        features, about["perceptual"] = load_perceptual(parts.perceptual), describe_perceptual(parts.perceptual)
    return Trainer(
        network,
        examples,
        recipe,
        run.output,
        validation=validation,
        perceptual=features,
        about=about,
        cases=cases,
        validation_cases=held_out,
        device=run.device,
        tensorboard=run.log == "tensorboard",
        save_every=run.save_every,
        log_every=run.log_every,
        doubts=doubts,
    )


def _images(data: TrainingData, asked: Sequence[str], network: FusionModel, cases: Sequence[Case]) -> Images:
    read = partial(read_without_gaps, background=data.nan == "background", page=data.page, max_pixels=data.max_pixels)
    used = {path for case in cases for path in case.files}
    ranges = ranges_of([Path(folder) for folder in data.folders], data.match, asked, read, used)
    return Images(network.spec.normalization, read, ranges)


def sources_of_a_case(network: FusionModel, folders: int) -> int:
    """Return how many images a model is trained on together: its only number of sources, or else one a folder."""
    if not network.trains_on_sources:
        return 1
    least, most = network.spec.n_sources
    return least if least == most else max(folders, 2)


def validation_series(data: TrainingData, cases: Sequence[Case]) -> list[str]:
    """Return the series to hold out: those that were named, or, where nothing was said, one that suits."""
    if list(data.validation_series) == [NO_VALIDATION] or data.validation_names is not None:
        return []
    if data.validation_series:
        return list(data.validation_series)
    found = series_to_hold_out(cases)
    return [] if found is None else [found]


def _check_output(data: TrainingData, run: TrainingRun) -> None:
    if any(same_file(run.output, Path(folder)) for folder in data.folders):
        raise OutputError(f"the output folder {run.output} is one of the folders of images; choose another")
