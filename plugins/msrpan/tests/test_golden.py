"""Parity with the authors' program and weights, which stand in a folder of research data that is not always there."""

from __future__ import annotations

import pytest
import torch
from helpers.golden import CROP, NEAR, filled, needs_peers, recorded, sources

from fusekit_msrpan.model import MSRPAN

pytestmark = [needs_peers, pytest.mark.filterwarnings("ignore:of the checkpoint these are left out")]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "composed"])
@torch.inference_mode()
def test_features_and_image_are_the_authors(form: str) -> None:
    network, pair = filled(MSRPAN(), "MSRPAN", form), sources("mri", "ct")
    features = network.encode_sources(pair)
    fused = network.choose_rule(None).apply(features).features
    crops = recorded("MSRPAN_16012", *(f"feat_{key}_eval_16012_crop" for key in ("a", "b", "fused")))
    for found, wanted in zip((*features, fused), crops, strict=True):
        torch.testing.assert_close(found[CROP], wanted, **NEAR)
    # Of the background, where both features are 0, the authors' program makes NaN; here 0/0 is 0.
    image, names = network.fuse(pair), ("fused_eval_nanfix_16012", "fused_train_nanfix_16012", "fused_eval_16012")
    evaluated, trained, published = recorded("MSRPAN_16012", *names)
    torch.testing.assert_close(image, evaluated, **NEAR)
    torch.testing.assert_close(image, trained, **NEAR)
    assert published.isnan().any()
