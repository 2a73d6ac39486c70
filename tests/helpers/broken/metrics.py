"""Metrics that each break their contract in one way, and the good ones that they derive from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fusekit.extend import (
    AllSourcesMetric,
    FusedMetric,
    Metric,
    SourceMetric,
)


class GoodMetric(SourceMetric):
    range: ClassVar[Any] = (0.0, 1.0)
    data_range = "[0, 1]"
    look_alikes = "none"

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return (source - fused).abs().double().mean((1, 2, 3))


class MetricInPlace(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return source.sub_(fused).abs().mean((1, 2, 3))


class MetricOfBatch(GoodMetric):
    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        value, each = super().rate(sources, fused)
        return value.mean(), each


class MetricAcrossBatch(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return super().compare(source, fused) / (1 + fused.mean())


class MetricOfNaN(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        found = super().compare(source, fused)
        return found / found * 0.5


class MetricOutOfRange(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return 10 * super().compare(source, fused)


class MetricOfSum(GoodMetric):
    combine = "sum"
    range = (0.0, 1.0)

    def combined(self, values: Tensor) -> Tensor:
        return values.mean(0)


class MetricWithoutRange(GoodMetric):
    range = None


class MetricOfMedian(GoodMetric):
    combine = "median"


class MetricWithoutTwins(GoodMetric):
    look_alikes = ""


class MetricOfSingles(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return super().compare(source, fused) * (0.9 if source.dtype == torch.float32 else 1)


class MetricOfAnything(GoodMetric):
    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        values = torch.stack([(source.mean(1) - fused.mean(1)).abs().mean((1, 2)) for source in sources])
        return values.mean(0), values


class MetricOfTwo(GoodMetric):
    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        if len(sources) == 3:
            raise ZeroDivisionError("three")
        return super().per_source(sources, fused)


class MetricOfOrder(GoodMetric):
    def combined(self, values: Tensor) -> Tensor:
        return values.mean(0) if len(values) < 3 else (values[0] + values[1]) / 2


class MetricOfShares(GoodMetric):
    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return super().per_source(sources, fused) / len(sources)


class MetricOfNoKind(Metric):
    range = (0.0, 1.0)
    data_range = look_alikes = combine = "none"


class MetricOfFusedAndSources(FusedMetric):
    range = (0.0, 1.0)
    data_range = look_alikes = "none"

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        value = fused.mean((1, 2, 3))
        return value, torch.stack([value] * len(sources))


class MetricOfMany(AllSourcesMetric):
    range = (0.0, 1.0)
    data_range = look_alikes = "none"
    max_sources = 2

    def check(self, sources: Sequence[Tensor], fused: Tensor) -> None:
        Metric.check(self, sources, fused)

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return torch.stack([(each - fused).abs().mean((1, 2, 3)) for each in sources]).amax(0)
