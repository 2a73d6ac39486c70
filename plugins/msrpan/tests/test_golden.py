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

SHARED = Path(os.environ.get("FUSEKIT_SHARED") or Path(__file__).parent / "../../../../shared")
PEERS = SHARED / "golden" / "peers"
#: How near a network comes to its authors'.
NEAR: dict[str, Any] = {"atol": 1e-5, "rtol": 0}
#: Rows and columns of features that were recorded.
CROP = (..., slice(120, 136), slice(120, 136))
pytestmark = [
    pytest.mark.skipif(
        not PEERS.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
    ),
    pytest.mark.filterwarnings("ignore:of the checkpoint these are left out"),
]


def recorded(file: str, *names: str) -> list[Tensor]:
    """Return arrays of a file, with an axis of one in front."""
    with np.load(PEERS / f"{file}.npz") as arrays:
        return [torch.from_numpy(arrays[name])[None] for name in names]


def sources() -> list[Tensor]:
    """Return images MRI and CT of slice 16012, (1, 1, 256, 256) in [0, 1]."""
    return [each[None].float() / 255 for each in recorded("inputs_16012_u8", "mri_16012", "ct_16012")]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "composed"])
@torch.inference_mode()
def test_features_and_image_are_the_authors(form: str) -> None:
    network, pair = MSRPAN(), sources()
    network.load_state_dict(network.convert_state_dict(load_file(PEERS / "MSRPAN.safetensors")))
    network.eval().use_form(form)
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
