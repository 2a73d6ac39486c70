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

from fusekit_msdra.convert import from_authors
from fusekit_msdra.model import MSDRA

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


def network_of(statistics: str) -> MSDRA:
    network = MSDRA(statistics).eval()
    network.load_state_dict(from_authors(load_file(PEERS / "MSDRA.safetensors"), statistics))
    return network


@pytest.mark.slow
@pytest.mark.parametrize(("statistics", "mode"), [("image", "train"), ("running", "eval")])
@torch.inference_mode()
def test_the_plain_modules_and_the_published_rule_are_the_authors(statistics: str, mode: str) -> None:
    """The authors' script normalises by the statistics of each image; by the running ones little is left of it."""
    network, rule, pair = network_of(statistics), "msdra-signed", sources()
    features = network.encode_sources(pair)
    fused = network.choose_rule(rule).apply(features).features
    crops = recorded("MSDRA_16012", *(f"feat_{key}_{mode}_16012_crop" for key in ("a", "b", "fused")))
    for found, wanted in zip((*features, fused), crops, strict=True):
        torch.testing.assert_close(found[CROP], wanted, **NEAR)
    torch.testing.assert_close(network.fuse(pair, rule), *recorded("MSDRA_16012", f"fused_{mode}_16012"), **NEAR)


@pytest.mark.parametrize("statistics", ["image", "running"])
@torch.inference_mode()
def test_the_composed_form_is_near_on_the_authors_weights(statistics: str) -> None:
    network = network_of(statistics)
    pair = [each[:, :, 90:186, 60:150] for each in sources()]
    wanted = network.fuse(pair)
    torch.testing.assert_close(network.use_form("composed").fuse(pair), wanted, atol=2e-5, rtol=0)
