"""What a GPU computes is what the CPU computes: models in either backend, rules, metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fusekit
from fusekit.images import samples
from fusekit.metrics.build import build_metric
from fusekit.metrics.sets import STANDARD

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
SOURCES = [samples.path("ct"), samples.path("mri")]


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("rule", ["sfnn-local", "sfnn", "max"])
def test_fused_images(rule: str, backend: str) -> None:
    wanted = fusekit.fuse(SOURCES, "ehdran", rule=rule, device="cpu", bit_depth="float").image
    found = fusekit.fuse(SOURCES, "ehdran", rule=rule, device="cuda", backend=backend, bit_depth="float")
    assert found.record["backend"] == backend
    np.testing.assert_allclose(found.image, wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", STANDARD)
def test_metrics(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    sources = [torch.rand((1, 1, 64, 64), generator=generator, dtype=torch.float64) for _ in range(2)]
    fused = (sources[0] + sources[1]) / 2
    metric = build_metric(name)
    wanted, _ = metric.rate(sources, fused)
    found, _ = metric.rate([source.cuda() for source in sources], fused.cuda())
    torch.testing.assert_close(found.cpu(), wanted, atol=1e-6, rtol=1e-6)
