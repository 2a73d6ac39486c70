"""A comparison as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from fusekit.evaluation.ratings import Comparison


def to_json(comparison: Comparison) -> str:
    """Return means, standard deviations, ranks, p-values and every image's values; infinities become strings."""
    data = {
        "metrics": comparison.metrics,
        "images": comparison.images,
        "methods": {
            method: {
                "mean_rank": comparison.mean_rank(method),
                "mean": {metric: comparison.mean(method, metric) for metric in comparison.metrics},
                "std": {metric: comparison.std(method, metric) for metric in comparison.metrics},
                "ratings": comparison.ratings[method],
            }
            for method in comparison.methods
        },
        "p_values": {metric: comparison.significance(metric) for metric in comparison.metrics}
        if len(comparison.methods) > 1
        else {},
        "failed": comparison.failed,
    }
    return json.dumps(finite(data), indent=2, ensure_ascii=False)


def to_csv(comparison: Comparison) -> str:
    """Return a row an image and method: the metrics, and behind them each source's and the worse one's values."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    count = len(next(iter(comparison.cases.values())).sources)
    parts = [f"source {index}" for index in range(1, count + 1)] + ["worse"]
    writer.writerow(
        ["image", "method", *comparison.metrics, *(f"{m} ({part})" for m in comparison.metrics for part in parts)]
    )
    for method in comparison.methods:
        for image, row in comparison.ratings[method].items():
            details: list[float | None] = []
            for metric in comparison.metrics:
                details += row[metric]["per_source"] or [None] * count
                details.append(row[metric]["worst"])
            values = [row[metric]["value"] for metric in comparison.metrics]
            writer.writerow([image, method, *values, *("" if each is None else each for each in details)])
    return buffer.getvalue()


def finite(data: Any) -> Any:
    """Replace what JSON cannot hold: infinities and NaN become the strings ``inf``, ``-inf`` and ``nan``."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [finite(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data
