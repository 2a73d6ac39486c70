"""What all metrics have in common, and more of the gradient, contrast, perceptual and structural ones."""

from __future__ import annotations

import pytest
from helpers import metrics

from fusekit.evaluation.rate import metric_names

ALL = metric_names("all")
NAMES = [
    "ei", "sf.diff", "ag.mn", "qabf", "qabf.kumar", "labf", "nabf", "nabf.petrovic", "qg", "qsf", "qsf.metricslab",
    "qp", "qs", "qw", "qe", "qe.metricslab", "qy", "qc", "qc.liu", "qm", "qcb", "qcv",
]  # fmt: skip


@pytest.mark.parametrize("device", metrics.DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_loop_over_its_images(name: str, device: str) -> None:
    metrics.check_batch(name, device)


# A source's own value of scd is of the fused image less the others.
@pytest.mark.parametrize("name", [name for name in ALL if name != "scd"])
def test_a_source_has_the_value_of_fusing_it_alone(name: str) -> None:
    metrics.check_shares(name)


@pytest.mark.parametrize("name", NAMES)
def test_three_sources(name: str) -> None:
    metrics.check_number_of_sources(name)


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_images_never_give_nan(name: str) -> None:
    metrics.check_degenerate(name)


@pytest.mark.parametrize("name", ALL)
def test_entry_is_complete(name: str) -> None:
    metrics.check_entry(name)
