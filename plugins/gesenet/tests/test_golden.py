"""Parity with the authors' network in evaluation mode; its outputs were recorded once, beside its weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import fusekit
from fusekit_gesenet.model import GeSeNet

SHARED = Path(os.environ.get("FUSEKIT_SHARED") or Path(__file__).parent / "../../../../shared")
PEERS = SHARED / "golden" / "peers"
#: How near a network comes to its authors'.
NEAR: dict[str, Any] = {"atol": 1e-5, "rtol": 0}
pytestmark = pytest.mark.skipif(
    not PEERS.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
)


def filled(form: str = "plain") -> GeSeNet:
    """Return the network with its authors' weights, in one of its forms."""
    network = GeSeNet()
    network.load_state_dict(network.convert_state_dict(load_file(PEERS / "GeSeNet" / "GeSeNet.safetensors")))
    network.eval().use_form(form)
    return network


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    with np.load(PEERS / "GeSeNet" / "GeSeNet_16012.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def pair() -> list[Tensor]:
    """Return images CT and MRI of slice 16012, (1, 1, 256, 256) in [0, 1]."""
    with np.load(PEERS / "inputs_16012_u8.npz") as arrays:
        return [torch.from_numpy(arrays[name])[None, None].float() / 255 for name in ("ct_16012", "mri_16012")]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "composed"])
@torch.inference_mode()
def test_the_fused_image(form: str, pair: list[Tensor], recorded: dict[str, Tensor]) -> None:
    network = filled(form)
    torch.testing.assert_close(network.fuse(pair)[0, 0], recorded["fused_raw"], **NEAR)
    synthetic = [recorded[name][None, None] for name in ("synth_a", "synth_b")]
    torch.testing.assert_close(network.fuse(synthetic)[0, 0], recorded["synth_fused"], **NEAR)


@torch.inference_mode()
def test_what_is_inside(pair: list[Tensor], recorded: dict[str, Tensor]) -> None:
    network = filled()
    for name, branch, source in zip(("vis", "inf"), (network.first, network.second), pair, strict=True):
        edges, region = branch(source)
        for module, found in (("eem", edges), ("rmm", region)):
            wanted = recorded[f"crop/{name}_{module}"]
            torch.testing.assert_close(found[0, :8, 120:136, 120:136], wanted, **NEAR)
        masks = branch.region.masks(edges)
        assert torch.equal(masks.spatial[0, 0].bool(), recorded[f"{name}_mask"])
        assert torch.equal(masks.dense[0], recorded[f"{name}_channel_mask"][..., 0])


def test_the_weights_that_come_along_are_the_authors() -> None:
    shipped, theirs = fusekit.load("gesenet.authors", device="cpu"), filled().state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in shipped.state_dict().items())
