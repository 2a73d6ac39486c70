"""A comparison as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from typing import Any

from fusekit.errors import plain
from fusekit.evaluation.provenance import made, metric_facts
from fusekit.evaluation.rate import Rating
from fusekit.evaluation.ratings import Comparison


def to_json(comparison: Comparison, command: str = "") -> str:
    """Return all that is known of a comparison; infinities become strings.

    Args:
        comparison: rated.
        command: the command line that asked for it.
    """
    several = len(comparison.methods) > 1
    data = {
        "made": asdict(made(command)),
        "metrics": comparison.metrics,
        "about": {metric: metric_facts(metric) for metric in comparison.metrics},
        "sources": comparison.sources,
        "images": comparison.images,
        "left_out": asdict(comparison.left_out),
        "data_range": list(comparison.data_range),
        **comparison.reading,
        "doubts": comparison.doubts,
        "methods": {method: _method(comparison, method) for method in comparison.methods},
        "p_values": {metric: comparison.significance(metric) for metric in comparison.metrics} if several else {},
        "p_values_worst": {
            metric: comparison.significance(metric, "worst")
            for metric in comparison.metrics
            if several and comparison.by_source(metric)
        },
        "copies": comparison.copies(),
        "failed": comparison.failed,
    }
    return json.dumps(finite(data), indent=2, ensure_ascii=False)


def _method(comparison: Comparison, method: str) -> dict[str, Any]:
    metrics = comparison.metrics
    return {
        "mean_rank": comparison.mean_rank(method),
        "mean_rank_worst": comparison.mean_rank(method, "worst"),
        "copying": comparison.copying(method),
        "correlation": comparison.shared(method, "correlation"),
        "vif": comparison.shared(method, "vif"),
        "vif_worst": comparison.worst_vif(method),
        "mean": {metric: comparison.mean(method, metric) for metric in metrics},
        "std": {metric: comparison.std(method, metric) for metric in metrics},
        "mean_worst": {metric: comparison.mean(method, metric, "worst") for metric in metrics},
        "std_worst": {metric: comparison.std(method, metric, "worst") for metric in metrics},
        "ratings": comparison.ratings[method],
        "sharing": comparison.sharing[method],
        "ranges": {image: [list(each) for each in found] for image, found in comparison.ranges[method].items()},
    }


def to_csv(comparison: Comparison) -> str:
    """Return a row an image and method: the metrics, copying, and behind them each source's and the worse one's values.

    Each source's ``cc`` and ``vif``, which copying is told by, are there whether they were asked for or not.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    count = len(comparison.sources)
    parts = [f"source {index}" for index in range(1, count + 1)] + ["worse"]
    details = [f"{metric} ({part})" for metric in comparison.computed for part in parts]
    writer.writerow(["image", "method", *comparison.metrics, "copying", *details])
    for method in comparison.methods:
        for image, row in comparison.ratings[method].items():
            sharing = comparison.sharing[method][image]
            cells: list[float | None] = [row[metric]["value"] for metric in comparison.metrics]
            cells.append(sharing["copying"])
            for metric in comparison.computed:
                cells += _of_sources(row.get(metric), sharing["correlation" if metric == "cc" else "vif"], count)
            writer.writerow([plain(image), plain(method), *("" if cell is None else cell for cell in cells)])
    return buffer.getvalue()


def _of_sources(rating: Rating | None, told_by: list[float], count: int) -> list[float | None]:
    """Return a metric's value of each source and the worse one; of one that was not asked for, what copying has."""
    if rating is None:
        return [*told_by, min(told_by)]
    nothing: list[float | None] = [None] * count
    return [*(rating["per_source"] or nothing), rating["worst"]]


def finite(data: Any) -> Any:
    """Replace what JSON cannot hold: infinities and NaN become the strings ``inf``, ``-inf`` and ``nan``."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [finite(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data
