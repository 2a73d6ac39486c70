"""The checks of metrics: good ones pass, and each broken one is caught by a finding that names it."""

from __future__ import annotations

import pytest
from helpers.broken import metrics, rules
from helpers.contracts import assert_said, registered

from fusekit.testing import (
    check_metric,
)


def test_a_good_metric_has_no_findings() -> None:
    with registered("metrics", metrics.GoodMetric, direction="lower") as name:
        assert check_metric(name) == []


@pytest.mark.parametrize(
    ("metric", "fact"),
    [
        (metrics.MetricInPlace, "changes its inputs"),
        (metrics.MetricOfBatch, "one value an image is wanted"),
        (metrics.MetricAcrossBatch, "gives other values for a batch of three"),
        (metrics.MetricOfNaN, "gives NaN for 1 sources of 2×2 pixels"),
        (metrics.MetricOutOfRange, "has the range 0 to 1, and gives"),
        (metrics.MetricOfSum, "says that it is the sum over the sources, and is not"),
        (metrics.MetricWithoutRange, "has the range None"),
        (metrics.MetricOfMedian, "has combine 'median'; as a SourceMetric it has mean or sum"),
        (metrics.MetricWithoutTwins, "does not say its look_alikes"),
        (metrics.MetricOfSingles, "in float32 than in float64"),
        (metrics.MetricOfAnything, "takes images of three channels; refuse them with InputError"),
        (metrics.MetricOfTwo, "fails with 1, 2 and 3 sources: ZeroDivisionError: three"),
        (metrics.MetricOfOrder, "gives another value when the same sources come in another order"),
        (metrics.MetricOfShares, "gives a source another value beside others than alone"),
        (metrics.MetricOfNoKind, "derives from none of the kinds of metric"),
        (metrics.MetricOfFusedAndSources, "looks at the fused image only, and gives values of sources"),
        (metrics.MetricOfMany, "takes 3 sources, more than its max_sources"),
        (rules.GoodRule, "is not a fusekit.extend.Metric"),
    ],
)
def test_broken_metrics_are_caught(metric: type, fact: str) -> None:
    with registered("metrics", metric, direction="lower") as name:
        assert_said(check_metric(name), f"the metric '{name}' of a-test", fact)


def test_a_metric_may_depend_on_the_order_by_its_definition() -> None:
    assert check_metric("qc.liu", ordered=True) == []
    assert_said(check_metric("qc.liu"), "the metric 'qc.liu' of fusekit-imaging", "come in another order")


def test_a_metric_of_the_wrong_direction_is_caught() -> None:
    with registered("metrics", metrics.GoodMetric, direction="higher") as name:
        assert_said(
            check_metric(name), name, "is registered as direction='higher', and rates a copy of the source by 0"
        )
