"""What a metric gives is checked where it is used."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from helpers.broken.metrics import GoodMetric, MetricInPlace, MetricOfBatch, MetricOfNaN
from helpers.contracts import registered

import fusekit
from fusekit.errors import PluginError


class MetricOfOneRow(GoodMetric):
    def rate(self, sources: Any, fused: Any) -> Any:
        value, each = super().rate(sources, fused)
        return value, each[:1]


class MetricOfValuesAlone(GoodMetric):
    def rate(self, sources: Any, fused: Any) -> Any:
        return super().rate(sources, fused)[0]


@pytest.mark.parametrize(
    ("metric", "fact"),
    [
        (MetricInPlace, "changed its inputs; work on copies"),
        (MetricOfBatch, "returned a tensor () of float64 for its value; a float tensor (1,) is wanted"),
        (MetricOfNaN, "returned NaN for its value"),
        (MetricOfOneRow, "returned a tensor (1, 1) of float64 for its values of the sources; a float tensor (2, 1)"),
        (MetricOfValuesAlone, "returned a tensor (1,) of float64; rate returns the value and"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_named(metric: type, fact: str) -> None:
    first, second = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    fused = first if metric is MetricOfNaN else (first + second) / 2
    sources = [first, first] if metric is MetricOfNaN else [first, second]
    with registered("metrics", metric, direction="lower") as name:
        message = f"^the metric '{name}' of a-test {re.escape(fact)}"
        with pytest.raises(PluginError, match=message):
            fusekit.evaluate(sources, fused, [name])
