"""What the gradient, contrast, perceptual and structural metrics have in common."""

from __future__ import annotations

import metric_helper
import pytest

NAMES = [
    "ei", "sf.diff", "ag.mn", "qabf", "qabf.kumar", "labf", "nabf", "nabf.petrovic", "qg", "qsf", "qsf.metricslab",
    "qp", "qs", "qw", "qe", "qe.metricslab", "qy", "qc", "qc.liu", "qm", "qcb", "qcv",
]  # fmt: skip


@pytest.mark.parametrize("device", metric_helper.DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_loop_over_its_images(name: str, device: str) -> None:
    metric_helper.check_batch(name, device)


@pytest.mark.parametrize("name", NAMES)
def test_a_source_has_the_value_of_fusing_it_alone(name: str) -> None:
    metric_helper.check_shares(name)


@pytest.mark.parametrize("name", NAMES)
def test_three_sources(name: str) -> None:
    metric_helper.check_number_of_sources(name)


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_images_never_give_nan(name: str) -> None:
    metric_helper.check_degenerate(name)


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_complete(name: str) -> None:
    metric_helper.check_entry(name)
