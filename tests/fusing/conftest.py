"""The models that several files here fuse with."""

from __future__ import annotations

import pytest

import fusekit
from fusekit.models.base import FusionModel


@pytest.fixture(scope="module")
def models() -> dict[str, FusionModel]:
    return {name: fusekit.load(name, device="cpu") for name in ("ehdran", "dilran", "pixel", "laplacian-pyramid")}
