"""A model run on the same images in tiles and whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusekit.fusing.run import Run
from fusekit.fusing.run import run as run_sets
from fusekit.models.base import FusionModel
from fusekit.options import FuseOptions
from fusekit.rules.base import FusionRule
from helpers.cli import texture


def pair(height: int, width: int, count: int = 2) -> list[np.ndarray]:
    return [texture(seed, height, width, depth="float32") for seed in range(count)]


def run(model: FusionModel, units: list[np.ndarray], rule: str | FusionRule | None, **options: Any) -> Run:
    return run_sets(model, [units], model.choose_rule(rule), FuseOptions(**options))[0]


def assert_same(tiled: Run, whole: Run) -> None:
    assert np.abs(tiled.image - whole.image).max() <= 1e-5
    assert (tiled.weights is None) == (whole.weights is None)
    for one, other in zip(tiled.weights or [], whole.weights or [], strict=True):
        found, expected = one.as_dict(), other.as_dict()
        assert found.keys() == expected.keys()
        assert found.pop("per") == expected.pop("per")
        for key, values in expected.items():
            assert found[key] == pytest.approx(values, abs=3e-6)
