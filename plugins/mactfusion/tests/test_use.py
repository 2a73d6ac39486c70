"""The model as users meet it: roles, refusals, sizes, colour, depth, missing weights; and its training."""

from __future__ import annotations

import torch

from fusekit.testing import assert_no_findings, check_short_training, check_use
from fusekit_mactfusion.model import MACTFusion


def test_users_meet_it_as_they_expect() -> None:
    torch.manual_seed(0)
    assert_no_findings(check_use(MACTFusion().eval().use_form("fastest")))


def test_a_short_training_makes_weights_that_fuse() -> None:
    terms = ["intensity", "gradient", "structure"]
    assert_no_findings(check_short_training("mactfusion", steps=2, terms=terms))
