"""Images, and the properties that every metric must have, for the tests of metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fusekit.errors import InputError
from fusekit.evaluation.rate import read_luminance
from fusekit.metrics.base import FusedMetric, Metric
from fusekit.metrics.build import build_metric
from fusekit.registry.discovery import registries

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))]


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


def check_batch(name: str, device: str) -> None:
    """A batch is a loop over its images, of any number of sources that the metric takes."""
    metric = load(name)
    most = getattr(metric, "max_sources", None) or 3
    sources = [noise(seed, 3, 1, 34, 47) for seed in range(1, most + 1)]
    fused = noise(9, 3, 1, 34, 47)
    value, values = metric.rate([each.to(device) for each in sources], fused.to(device))
    assert value.shape == (3,)
    assert value.device.type == device
    for index in range(3):
        own = slice(index, index + 1)
        alone, shares = metric.rate([each[own] for each in sources], fused[own])
        assert value[index].item() == pytest.approx(alone.item(), rel=1e-6)
        if values is not None:
            assert values[:, index].tolist() == pytest.approx(shares[:, 0].tolist(), rel=1e-6)


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


def check_number_of_sources(name: str) -> None:
    """Three sources in any order give one value, or a clear error."""
    metric = load(name)
    sources, fused = [noise(1), noise(2), noise(3)], noise(4)
    if getattr(metric, "max_sources", None) == 2:
        with pytest.raises(InputError, match=rf"{name}.*2 sources, and 3 were given"):
            metric(sources, fused)
        return
    assert metric(sources, fused).item() == pytest.approx(metric(sources[::-1], fused).item(), rel=1e-9)


def check_degenerate(name: str) -> None:
    """No image gives NaN, and float32 serves for 8-bit levels."""
    metric = load(name)
    low, high = metric.range
    for side in (2, 3, 5, 20):
        black, gray, white = (constant(level, side, side) for level in (0, 77, 255))
        rough = noise(side, 1, 1, side, side)
        for first in (black, gray, white, rough):
            for fused in (black, gray, white, rough, first * 0.5):
                for sources in ([first], [first, black], [white, first]):
                    value, values = metric.rate(sources, fused)
                    for each in [value, *([] if values is None else values)]:
                        assert not math.isnan(each.item()), (name, side)
                        assert low - 1e-9 <= each.item() <= high + 1e-9, (name, side)
    sources, fused = [noise(1), noise(2)], noise(3)
    single = metric([each.float() for each in sources], fused.float())
    assert single.item() == pytest.approx(metric(sources, fused).item(), rel=1e-6)


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


def check_flat_images(name: str, side: int) -> None:
    """Black, grey, white and rough images of ``side`` pixels never give NaN, nor what lies outside the range."""
    metric = load(name)
    low, high = metric.range
    black, gray, white, textured = (
        constant(0, side, side),
        constant(77, side, side),
        constant(255, side, side),
        noise(5, 1, 1, side, side),
    )
    for fused in (black, gray, white, textured):
        for sources in ([black, gray], [gray, gray, white], [textured], [fused, textured]):
            value, shares = metric.rate(sources, fused)
            assert not math.isnan(value.item()), (name, fused[0, 0, 0, 0])
            for share in [value] if shares is None else shares:
                assert low - 1e-9 <= share.item() <= high + 1e-9


def check_batch_and_combination(name: str, height: int, width: int, rel: float) -> None:
    """A batch of three sources is a loop over its images, and the value is the sources' own, combined."""
    metric = load(name)
    sources, fused = [noise(seed, 3, 1, height, width) for seed in (1, 2, 3)], noise(4, 3, 1, height, width)
    together, shares = metric.rate(sources, fused)
    alone = [metric([each[i : i + 1] for each in sources], fused[i : i + 1]).item() for i in range(3)]
    assert together.tolist() == pytest.approx(alone, rel=rel)
    if metric.combine in ("mean", "sum"):
        assert shares.shape == (3, 3)
        combined = shares.sum(0) if metric.combine == "sum" else shares.mean(0)
        assert together.tolist() == pytest.approx(combined.tolist(), rel=1e-12)


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
