"""How good a set of weights is: reconstruction of single images, and metrics of fused pairs, for model cards."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusekit.cases.folders import matched, shortened
from fusekit.errors import InputError, OptionError
from fusekit.evaluation.rate import arrow, evaluate
from fusekit.images.files import read_image
from fusekit.images.ranges import output_to_unit, unit_luminance
from fusekit.machine.files import write_text_atomically
from fusekit.models.base import EncoderDecoder
from fusekit.models.load import load
from fusekit.options import FuseOptions
from fusekit.pipeline import fuse


def score_weights(
    model: str,
    folders: Sequence[Path],
    names: str | None,
    rules: Sequence[str],
    metrics: Sequence[str] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
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
    """
    network = load(model, device=device)
    if not isinstance(network, EncoderDecoder):
        raise OptionError(f"the model {model!r} does not reconstruct single images")
    found = matched(folders, names)
    pairs = [case.files for case in found if case.complete]
    if names is not None and len(pairs) < len(found):
        raise InputError(f"{names} lists pairs that are not in all of the folders")
    weights = network.provenance.weights if network.provenance else None
    return {
        "model": model,
        "weights_sha256": weights.sha256 if weights else None,
        "data": {"folders": [shortened(folder) for folder in folders], "pairs": len(pairs)},
        "reconstruction": {
            folder.name: _reconstruction(network, [pair[index] for pair in pairs])
            for index, folder in enumerate(folders)
        },
        "fusion": {rule: _fusion(network, pairs, rule, metrics) for rule in rules},
    }


def _reconstruction(network: EncoderDecoder, paths: Sequence[Path]) -> dict[str, float]:
    values = [reconstruction_psnr(network, path) for path in paths]
    return {"mean": statistics.fmean(values), "min": min(values), "count": len(values)}


def reconstruction_psnr(network: EncoderDecoder, path: Path) -> float:
    """Return the PSNR in dB, peak 1, of decode(encode(x)) against x, for x an image as the model's spec prepares it."""
    unit = unit_luminance(read_image(path), network.spec.normalization)
    parameter = next(network.parameters())
    with torch.inference_mode():
        raw = network.reconstruct(torch.from_numpy(unit)[None, None].to(parameter.device, parameter.dtype))
    error = np.square(output_to_unit(raw[0, 0].float().cpu().numpy(), network.spec.output) - unit).mean()
    return -10 * math.log10(max(float(error), 1e-12))


def _fusion(
    network: EncoderDecoder, pairs: Sequence[Sequence[Path]], rule: str, metrics: Sequence[str] | None
) -> dict[str, dict[str, float]]:
    rows = [
        evaluate(pair, fuse(list(pair), network, FuseOptions(rule=rule, color="gray")).image, metrics) for pair in pairs
    ]
    return {
        metric: {
            "mean": statistics.fmean(row[metric] for row in rows),
            "std": statistics.stdev(row[metric] for row in rows) if len(rows) > 1 else 0.0,
        }
        for metric in rows[0]
    }


def markdown(scores: dict[str, Any]) -> str:
    """Return the scores as two Markdown tables."""
    lines = [
        f"{scores['data']['pairs']} pairs of {' and '.join(scores['data']['folders'])}; "
        f"weights sha256 `{scores['weights_sha256'][:16]}…`.",
        "",
        "| reconstruction | mean PSNR (dB) | least PSNR (dB) | images |",
        "|---|---|---|---|",
    ]
    for name, row in scores["reconstruction"].items():
        lines.append(f"| {name} | {row['mean']:.2f} | {row['min']:.2f} | {row['count']} |")
    rules = list(scores["fusion"])
    lines += ["", "| metric | " + " | ".join(rules) + " |", "|---" * (len(rules) + 1) + "|"]
    for metric in next(iter(scores["fusion"].values()), {}):
        rows = [scores["fusion"][rule][metric] for rule in rules]
        cells = [f"{row['mean']:.3f} ± {row['std']:.3f}" for row in rows]
        lines.append(f"| {metric} {arrow(metric)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_card(card: Path, text: str) -> None:
    """Put ``text`` between the figures' markers of a model card; errors as for `write_between`."""
    write_between(card, text, "figures")


def write_between(page: Path, text: str, mark: str) -> None:
    """Put ``text`` between the lines ``<!-- MARK: begin -->`` and ``<!-- MARK: end -->`` of a Markdown page.

    Raises:
        InputError: the page cannot be read, or has no such lines.
    """
    before, after = around(page, mark)
    write_text_atomically(page, f"{before}\n{text}\n{after}")


def around(page: Path, mark: str) -> tuple[str, str]:
    """Return what stands before and after the figures of a page, the markers included; errors as `write_between`."""
    begin_line, end_line = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    try:
        old = page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the page {page}: {error.strerror or error}") from error
    before, begin, rest = old.partition(begin_line)
    _, end, after = rest.partition(end_line)
    if not begin or not end:
        raise InputError(f"{page} has no lines {begin_line} and {end_line} to put the figures between")
    return before + begin_line, end_line + after
