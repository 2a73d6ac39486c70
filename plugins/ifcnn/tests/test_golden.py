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

GOLDEN = Path(os.environ.get("FUSEKIT_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "golden" / "peers"
pytestmark = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
)
TOLERANCE: dict[str, Any] = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def sources() -> list[Tensor]:
    with np.load(GOLDEN / "inputs_16012_u8.npz") as arrays:
        return [torch.from_numpy(arrays[f"{name}_16012"])[None, None].float() / 255 for name in ("ct", "mri")]


@pytest.mark.parametrize("form", ["plain", "composed"])
@pytest.mark.parametrize("network_class", [IFCNN, IFCNNMean, IFCNNSum])
@torch.inference_mode()
def test_features_colours_and_image_are_the_authors(
    network_class: type[IFCNN], form: str, sources: list[Tensor]
) -> None:
    name = f"IFCNN-{network_class.spec.default_rule.upper()}"
    network = network_class().eval().use_form(form)
    network.load_state_dict(network.convert_state_dict(load_file(GOLDEN / f"{name}.safetensors")))
    with np.load(GOLDEN / f"{name}_16012.npz") as arrays:
        wanted = {key: torch.from_numpy(arrays[key])[None] for key in arrays}
    features = network.encode_sources(sources)
    fused = network.choose_rule(None).apply(features).features
    crops = {"a": features[0], "b": features[1], "fused": fused}
    for key, found in crops.items():
        wanted_crop = wanted[f"feat_{key}_eval_16012_crop"]
        torch.testing.assert_close(found[:, :, 120:136, 120:136], wanted_crop, **TOLERANCE)
    colors = network.decoder.colors(fused)
    torch.testing.assert_close(colors, wanted["fused_eval_16012"], **TOLERANCE)
    red, green, blue = wanted["fused_eval_16012"].clamp(0, 1).unbind(1)
    gray = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    torch.testing.assert_close(network.fuse(sources), gray, **TOLERANCE)
