"""The model as users meet it: roles, refusals, sizes, colour, depth, and the training that `fusekit train` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusekit
from fusekit.extend import FusekitWarning
from fusekit.testing import assert_no_findings, check_short_training, check_use


def test_users_meet_it_as_they_expect() -> None:
    assert_no_findings(check_use(fusekit.load("gesenet", device="cpu")))


def test_a_short_training_makes_weights_that_fuse() -> None:
    terms = ["intensity", "gradient", "structure"]
    assert_no_findings(check_short_training("gesenet", steps=2, crop=32, terms=terms))


def test_the_weights_are_for_ct_pet_and_spect() -> None:
    generator, roles = np.random.default_rng(0), {"ct": 1, "mri": 2}
    pair: Any = [generator.integers(0, 255, (20, 24), dtype=np.uint8) for _ in roles]
    for modality in ("ct,mri", "pet,mri", "spect,mri"):
        assert fusekit.fuse(pair, "gesenet", roles=roles, modality=modality).record["doubts"] == []
    with pytest.warns(FusekitWarning, match="trained on CT/PET/SPECT and MRI, and the sources show US and MRI"):
        fusekit.fuse(pair, "gesenet", roles=roles, modality="us,mri")
