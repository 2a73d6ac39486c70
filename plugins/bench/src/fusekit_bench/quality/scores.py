"""Fuse one pair by many methods and rate the results, with what was computed before kept in a file a pair.

Each source is encoded once for all rules of a model. Metrics see one of two forms of the images, and a third view is
of the model alone:

``file``   what ``fusekit fuse --color gray`` writes, in 8 bits for 8-bit sources, against the sources as stored;
``float``  the network's output under the model's output policy, not rounded, and the sources' luminance, each then
           stretched to [0, 1] by its own least and greatest value: the images that the EH-DRAN authors rated;
``model``  ``reconstruction``, the PSNR in dB of each source against what the autoencoder makes of it.

The published images of others are rated as a model's output is, by their luminance.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusekit.cases.roles import in_order_of_roles
from fusekit.errors import InputError
from fusekit.evaluation.rate import Rating, evaluate_detailed
from fusekit.images.align import REFUSE, aligned
from fusekit.images.image import Array, Image
from fusekit.images.ranges import find_range, from_unit, model_range, output_range, output_to_unit, unit_luminance
from fusekit.machine.files import write_text_atomically
from fusekit.machine.parsing import read_json
from fusekit.models.base import EncoderDecoder, FusionModel
from fusekit.models.contract import apply_rule
from fusekit.models.shapes import crop_to, pad_to_multiple
from fusekit.pipeline import read
from fusekit.registry.specs import Normalization, OutputPolicy
from fusekit_bench.cards import reconstruction_psnr
from fusekit_bench.quality.methods import RECONSTRUCTION, Measure, Method, loaded, roles_of

#: How a model takes its sources, and how its output is brought to [0, 1].
Policies = tuple[Normalization, OutputPolicy]


@dataclass(frozen=True)
class Job:
    """One pair with what is to be computed of it.

    Attributes:
        name: of the pair.
        sources: paths.
        sha256: of the sources.
        shown: what each source shows.
        methods: key of `fusekit_bench.quality.methods.key_of` → method.
        measures: what to rate.
        cache: file with what was computed before.
        device: as in `fusekit.load`.
    """

    name: str
    sources: tuple[Path, ...]
    sha256: str
    shown: tuple[str, ...]
    methods: dict[str, Method]
    measures: tuple[Measure, ...]
    cache: Path
    device: str


def cached(job: Job) -> dict[str, dict[str, Rating]]:
    """Return what is known of the pair: method's key → measure's key → rating. Of changed sources nothing is."""
    try:
        stored = read_json(job.cache)
        return dict(stored["ratings"]) if stored["sources"] == job.sha256 else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def missing(job: Job, known: dict[str, dict[str, Rating]]) -> dict[str, list[Measure]]:
    """Return the measures that are still to be computed, by method's key."""
    wanted = {key: [each for each in job.measures if each.key not in known.get(key, {})] for key in job.methods}
    return {key: measures for key, measures in wanted.items() if measures}


def score(job: Job) -> dict[str, dict[str, Rating]]:
    """Compute what is missing of a pair, keep it in its file, and return all that is known of it.

    Raises:
        FusekitError: a source cannot be used, or a method fails on it.
    """
    known = cached(job)
    wanted = missing(job, known)
    if not wanted:
        return known
    images = aligned([read(path) for path in job.sources], REFUSE).images
    for key, method in job.methods.items():
        if key in wanted and method.published is not None:
            # An image as it is stored is the output of a model that neither stretches nor cuts.
            raw = unit_luminance(read(method.published.files[job.name]), "unit")
            known.setdefault(key, {}).update(_rate(images, raw, ("unit", "clamp"), wanted[key]))
    for key, raw in _fused(job, images, wanted):
        network = loaded(job.methods[key].model, job.methods[key].weights, job.device)
        policies = (network.spec.normalization, network.spec.output)
        known.setdefault(key, {}).update(_rate(images, raw, policies, wanted[key]))
        if RECONSTRUCTION in wanted[key]:
            known[key][RECONSTRUCTION.key] = _reconstruction(network, job.sources)
    job.cache.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(job.cache, json.dumps({"sources": job.sha256, "ratings": known}) + "\n")
    return known


def _fused(job: Job, images: Sequence[Image], wanted: dict[str, Any]) -> Iterator[tuple[str, Array]]:
    """Yield method's key and raw output (H, W) of the wanted methods, model after model."""
    groups: dict[tuple[str, str | None], dict[str, str | None]] = {}
    for key in wanted:
        method = job.methods[key]
        if method.published is not None:
            continue
        groups.setdefault((method.model, method.weights), {})[key] = method.rule
    for (model, weights), rules in groups.items():
        network = loaded(model, weights, job.device)
        units = [unit_luminance(image, network.spec.normalization) for image in images]
        units = in_order_of_roles(network.spec, units, roles_of(network.spec, job.shown))
        for key, raw in zip(rules, fused_by_rules(network, units, list(rules.values())), strict=True):
            if not np.isfinite(raw).all():
                raise InputError(f"{job.methods[key].name} gives values that are not finite for {job.sources[0]}")
            yield key, raw


def fused_by_rules(network: FusionModel, units: Sequence[Array], rules: Sequence[str | None]) -> Iterator[Array]:
    """Yield the raw output (H, W) for each rule, as `FusionModel.fuse` gives it, with each source encoded once.

    Args:
        network: in evaluation mode.
        units: luminances (H, W), float32 in [0, 1].
        rules: names, ``None`` for a model that takes none.
    """
    sources = [torch.from_numpy(unit)[None, None].to(network.device, network.dtype) for unit in units]
    with torch.inference_mode():
        outputs: Iterator[Tensor] = (network.fuse(sources, rule) for rule in rules)
        # A model that fuses by itself, as one with a bound rule, does so.
        if isinstance(network, EncoderDecoder) and type(network).run is EncoderDecoder.run:
            outputs = _decoded(network, sources, rules)
        for output in outputs:
            yield output[0, 0].float().cpu().numpy()


def _decoded(network: EncoderDecoder, sources: Sequence[Tensor], rules: Sequence[str | None]) -> Iterator[Tensor]:
    padded = [pad_to_multiple(source, network.spec.multiple) for source in sources]
    features = [network.encode(source) for source in padded]
    for rule in rules:
        fused, *_ = apply_rule(network.choose_rule(rule), features)
        yield crop_to(network.decode(fused, padded), sources[0].shape[2:])


def _rate(images: Sequence[Image], raw: Array, policies: Policies, measures: Sequence[Measure]) -> dict[str, Rating]:
    """Rate a raw output (H, W) by measures of both views; keys are the measures'."""
    ratings = {}
    for view, form in (("file", _as_written), ("float", _stretched)):
        chosen = [each for each in measures if each.view == view]
        if chosen:
            sources, fused = form(images, raw, policies)
            rated = evaluate_detailed(sources, fused, [each.metric for each in chosen])
            ratings.update({each.key: rated[each.metric] for each in chosen})
    return ratings


def _reconstruction(network: FusionModel, sources: Sequence[Path]) -> Rating:
    if not isinstance(network, EncoderDecoder):
        raise InputError(f"the model {network.spec.id!r} does not reconstruct single images")
    values = [reconstruction_psnr(network, path) for path in sources]
    return {"value": statistics.fmean(values), "per_source": values, "worst": min(values)}


def _as_written(images: Sequence[Image], raw: Array, policies: Policies) -> tuple[list[Array], Array]:
    """Return the sources as stored and the grey pixels that the pipeline would write."""
    first, found, (normalization, output) = images[0], find_range(images[0]), policies
    scale = output_range(first, first.depth, model_range(first, found, normalization), found)
    return [image.pixels for image in images], from_unit(output_to_unit(raw, output), first.depth, scale)


def _stretched(images: Sequence[Image], raw: Array, policies: Policies) -> tuple[list[Array], Array]:
    """Return the sources' luminances and the output under the model's policy, each stretched to [0, 1], float32.

    Stretched without the policy's cut, a network's small negative values would lift the whole background off 0, and
    SSIM, whose windows are mostly background here, would fall by half.
    """
    units = [unit_luminance(image, "minmax") for image in images]
    return units, output_to_unit(output_to_unit(raw, policies[1]), "minmax")
