"""What all metrics have in common."""

from __future__ import annotations

import pytest
from helpers.metrics import check_entry, check_shares

from fusekit.evaluation.rate import metric_names
from fusekit.testing import assert_no_findings, check_metric

ALL = metric_names("all")
# Its windows of opposite covariances are 0 or 1 by the first source alone.
ORDERED = ("qc.liu",)


@pytest.mark.parametrize("name", ALL)
def test_metrics_keep_the_contract(name: str) -> None:
    assert_no_findings(check_metric(name, ordered=name in ORDERED))


# A source's own value of scd is of the fused image less the others.
@pytest.mark.parametrize("name", [name for name in ALL if name != "scd"])
def test_a_source_has_the_value_of_fusing_it_alone(name: str) -> None:
    check_shares(name)


@pytest.mark.parametrize("name", ALL)
def test_entry_is_complete(name: str) -> None:
    check_entry(name)
