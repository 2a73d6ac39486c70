"""``fusekit bench weights``: reconstruction of single images, and metrics of fused pairs, for model cards."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusekit.cases.folders import matched, shortened
from fusekit.errors import InputError, OptionError
from fusekit.evaluation.rate import arrow, evaluate
from fusekit.evaluation.ratings import deviation
from fusekit.images.files import read_image
from fusekit.images.ranges import output_to_unit, unit_luminance
from fusekit.models.base import EncoderDecoder
from fusekit.models.load import load
from fusekit.pipeline import fuse
from fusekit_bench.publish import Result, table


def score_weights(
    model: str,
    folders: Sequence[Path],
    names: str | None,
    rules: Sequence[str],
    metrics: Sequence[str] | None = None,
    device: str = "auto",
) -> Result:
    """Score a model's weights on pairs of images.

    Args:
        model: name with weights, such as ``ehdran.ct-mri``.
        folders: two or more, matched by file name.
        names: list of file names, or ``None`` for all.
        rules: fusion rules to fuse with.
        metrics: names, or ``None`` for all registered ones.
        device: as in `fusekit.load`.

    Returns:
        ``reconstruction`` (folder → mean, least and count of the PSNR in dB) and ``fusion`` (rule → metric → mean and
        standard deviation over the pairs), with the model, the weights' sha256, and the number of pairs.

    Raises:
        FusekitError: a model that does not reconstruct, or pairs that are not in all of the folders.
    """
    network = load(model, device=device)
    if not isinstance(network, EncoderDecoder):
        raise OptionError(f"the model {model!r} does not reconstruct single images")
    found = matched(folders, names)
    pairs = [case.files for case in found if case.complete]
    if names is not None and len(pairs) < len(found):
        raise InputError(f"{names} lists pairs that are not in all of the folders")
    weights = network.provenance.weights if network.provenance else None
    scores: dict[str, Any] = {
        "model": model,
        "weights_sha256": weights.sha256 if weights else None,
        "data": {"folders": [shortened(folder) for folder in folders], "pairs": len(pairs)},
        "reconstruction": {
            folder.name: _reconstruction(network, [pair[index] for pair in pairs])
            for index, folder in enumerate(folders)
        },
        "fusion": {rule: _fusion(network, pairs, rule, metrics) for rule in rules},
    }
    lines = [
        {"rule": rule, "metric": metric, **found}
        for rule, of_rule in scores["fusion"].items()
        for metric, found in of_rule.items()
    ]
    return Result(scores, markdown(scores), lines)


def _reconstruction(network: EncoderDecoder, paths: Sequence[Path]) -> dict[str, float]:
    values = [reconstruction_psnr(network, path) for path in paths]
    return {"mean": statistics.fmean(values), "min": min(values), "count": len(values)}


def reconstruction_psnr(network: EncoderDecoder, path: Path) -> float:
    """Return the PSNR in dB, peak 1, of decode(encode(x)) against x, for x an image as the model's spec prepares it."""
    unit = unit_luminance(read_image(path), network.spec.normalization)
    with torch.inference_mode():
        raw = network.reconstruct(torch.from_numpy(unit)[None, None].to(network.device, network.dtype))
    error = np.square(output_to_unit(raw[0, 0].float().cpu().numpy(), network.spec.output) - unit).mean()
    return -10 * math.log10(max(float(error), 1e-12))


def _fusion(
    network: EncoderDecoder, pairs: Sequence[Sequence[Path]], rule: str, metrics: Sequence[str] | None
) -> dict[str, dict[str, float]]:
    rows = [evaluate(pair, fuse(list(pair), network, rule=rule, color="gray").image, metrics) for pair in pairs]
    columns = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return {name: {"mean": statistics.fmean(each), "std": deviation(each)} for name, each in columns.items()}


def markdown(scores: Mapping[str, Any]) -> str:
    """Return the scores as two Markdown tables."""
    reconstruction, fusion, sha256 = scores["reconstruction"], scores["fusion"], scores["weights_sha256"]
    weights = f"weights sha256 `{sha256[:16]}…`" if sha256 else "no weights"
    pairs = f"{scores['data']['pairs']} pairs of {' and '.join(scores['data']['folders'])}; {weights}."
    headers = ["reconstruction", "mean PSNR (dB)", "least PSNR (dB)", "images"]
    images = [[name, f"{row['mean']:.2f}", f"{row['min']:.2f}", row["count"]] for name, row in reconstruction.items()]
    rated = [
        [
            f"{metric} {arrow(metric)}",
            *(f"{of[metric]['mean']:.3f} ± {of[metric]['std']:.3f}" for of in fusion.values()),
        ]
        for metric in next(iter(fusion.values()), {})
    ]
    return "\n".join([pairs, "", *table(headers, images), "", *table(["metric", *fusion], rated)])
