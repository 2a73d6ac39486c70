"""Images, and the properties that every metric must have, for the tests of metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fusekit.evaluation.rate import read_luminance
from fusekit.metrics.base import FusedMetric, Metric
from fusekit.metrics.build import build_metric
from fusekit.registry.discovery import registries


def load(name: str) -> Metric:
    return build_metric(name)


def image(rows) -> torch.Tensor:
    """Return grey levels 0-255 (H, W) as (1, 1, H, W) in [0, 1]."""
    return torch.as_tensor(np.asarray(rows), dtype=torch.float64)[None, None] / 255


def noise(seed: int, *shape: int) -> torch.Tensor:
    levels = np.random.default_rng(seed).integers(0, 256, shape or (1, 1, 34, 47))
    return torch.from_numpy(levels).double() / 255


def constant(level: float, height: int = 20, width: int = 20) -> torch.Tensor:
    return image(np.full((height, width), level))


def check_shares(name: str) -> None:
    """A source's own value is that of fusing it alone."""
    metric = load(name)
    sources, fused = [noise(1), noise(2)], noise(3)
    value, values = metric.rate(sources, fused)
    if isinstance(metric, FusedMetric):
        assert values is None
        return
    assert value.shape == (1,)
    assert values.shape == (2, 1)
    for source, share in zip(sources, values, strict=True):
        alone, alone_share = metric.rate([source], fused)
        assert share.item() == pytest.approx(alone.item(), rel=1e-9)
        assert alone_share[0].item() == pytest.approx(alone.item(), rel=1e-9)


def check_entry(name: str) -> None:
    """The metric tells what it is, and is registered with a summary and a citation."""
    entry, metric = registries().metrics.entry(name), load(name)
    assert metric.name == name
    assert metric.direction == entry.details["direction"]
    assert metric.citation == entry.citation
    assert metric.range[0] < metric.range[1]
    for text in (entry.summary, entry.citation, metric.data_range, metric.combine):
        assert text.strip()
    assert metric.look_alikes.strip()
    assert type(metric).__doc__


class Triples:
    """Image triples with the values of published implementations, ``values.json`` and ``triples/NAME/{A,B,F}.png``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._published = json.loads((folder / "values.json").read_text(encoding="utf-8"))
        self._values: dict[tuple[str, str], float] = {}

    def names(self) -> list[str]:
        return sorted(self._published)

    def images(self, triple: str) -> list[torch.Tensor]:
        """Return A, B and F of a triple, (1, 1, H, W) each in [0, 1]."""
        return [read_luminance(self.folder / "triples" / triple / f"{letter}.png") for letter in "ABF"]

    def value(self, metric: str, triple: str) -> float:
        """Return our value of a metric on a triple; each is computed once."""
        if (metric, triple) not in self._values:
            first, second, fused = self.images(triple)
            with torch.no_grad():
                self._values[metric, triple] = load(metric)([first, second], fused).item()
        return self._values[metric, triple]

    def known(self, triple: str, quantity: str, implementation: str) -> float | None:
        """Return the published value, ``None`` where there is no number."""
        value = self._published[triple].get(quantity, {}).get(implementation)
        return None if value is None or math.isnan(float(value)) else float(value)
