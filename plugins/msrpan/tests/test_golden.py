"""Parity with the authors' program and weights, which stand in a folder of research data that is not always there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fusekit_msrpan.model import MSRPAN

GOLDEN = Path(os.environ.get("FUSEKIT_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "golden" / "peers"
pytestmark = [
    pytest.mark.skipif(
        not GOLDEN.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
    ),
    pytest.mark.filterwarnings("ignore:of the checkpoint these are left out"),
]
TOLERANCE: dict[str, Any] = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def sources() -> list[Tensor]:
    with np.load(GOLDEN / "inputs_16012_u8.npz") as arrays:
        return [torch.from_numpy(arrays[f"{name}_16012"])[None, None].float() / 255 for name in ("mri", "ct")]


@pytest.fixture(scope="module")
def authors() -> dict[str, Tensor]:
    with np.load(GOLDEN / "MSRPAN_16012.npz") as arrays:
        return {key: torch.from_numpy(arrays[key])[None] for key in arrays}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "composed"])
@torch.inference_mode()
def test_features_and_image_are_the_authors(form: str, sources: list[Tensor], authors: dict[str, Tensor]) -> None:
    network = MSRPAN().eval().use_form(form)
    network.load_state_dict(network.convert_state_dict(load_file(GOLDEN / "MSRPAN.safetensors")))
    features = network.encode_sources(sources)
    crops = {"a": features[0], "b": features[1], "fused": network.choose_rule(None).apply(features).features}
    for key, found in crops.items():
        torch.testing.assert_close(found[:, :, 120:136, 120:136], authors[f"feat_{key}_eval_16012_crop"], **TOLERANCE)
    # Of the background, where both features are 0, the authors' program makes NaN; here 0/0 is 0.
    fused = network.fuse(sources)
    torch.testing.assert_close(fused, authors["fused_eval_nanfix_16012"], **TOLERANCE)
    torch.testing.assert_close(fused, authors["fused_train_nanfix_16012"], **TOLERANCE)
    assert authors["fused_eval_16012"].isnan().any()
