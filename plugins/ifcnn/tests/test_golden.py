"""Parity with the authors' programs and weights, which stand in a folder of research data that is not always there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fusekit_ifcnn.model import IFCNN, IFCNNMean, IFCNNSum

SHARED = Path(os.environ.get("FUSEKIT_SHARED") or Path(__file__).parent / "../../../../shared")
PEERS = SHARED / "golden" / "peers"
#: How near a network comes to its authors'.
NEAR: dict[str, Any] = {"atol": 1e-5, "rtol": 0}
#: Rows and columns of features that were recorded.
CROP = (..., slice(120, 136), slice(120, 136))
pytestmark = pytest.mark.skipif(
    not PEERS.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
)


def recorded(file: str, *names: str) -> list[Tensor]:
    """Return arrays of a file, with an axis of one in front."""
    with np.load(PEERS / f"{file}.npz") as arrays:
        return [torch.from_numpy(arrays[name])[None] for name in names]


def sources() -> list[Tensor]:
    """Return images CT and MRI of slice 16012, (1, 1, 256, 256) in [0, 1]."""
    return [each[None].float() / 255 for each in recorded("inputs_16012_u8", "ct_16012", "mri_16012")]


@pytest.mark.parametrize("form", ["plain", "composed"])
@pytest.mark.parametrize("network_class", [IFCNN, IFCNNMean, IFCNNSum])
@torch.inference_mode()
def test_features_colours_and_image_are_the_authors(network_class: type[IFCNN], form: str) -> None:
    name, pair, network = f"IFCNN-{network_class.spec.default_rule.upper()}", sources(), network_class()
    network.load_state_dict(network.convert_state_dict(load_file(PEERS / f"{name}.safetensors")))
    network.eval().use_form(form)
    features = network.encode_sources(pair)
    fused = network.choose_rule(None).apply(features).features
    crops = recorded(f"{name}_16012", *(f"feat_{key}_eval_16012_crop" for key in ("a", "b", "fused")))
    for found, wanted in zip((*features, fused), crops, strict=True):
        torch.testing.assert_close(found[CROP], wanted, **NEAR)
    (colors,) = recorded(f"{name}_16012", "fused_eval_16012")
    torch.testing.assert_close(network.decoder.colors(fused), colors, **NEAR)
    red, green, blue = colors.clamp(0, 1).unbind(1)
    gray = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    torch.testing.assert_close(network.fuse(pair), gray, **NEAR)
