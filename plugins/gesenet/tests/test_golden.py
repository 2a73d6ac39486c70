"""Parity with the authors' network in evaluation mode; its outputs were recorded once, beside its weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import fusekit
from fusekit_gesenet.model import GeSeNet


@pytest.fixture(scope="module")
def peers() -> Path:
    beside = Path(__file__).resolve().parents[3].parent / "shared"
    folder = Path(os.environ.get("FUSEKIT_SHARED") or beside) / "golden" / "peers"
    if not (folder / "GeSeNet").is_dir():
        pytest.skip("the recorded outputs of GeSeNet are not here; FUSEKIT_SHARED names the folder of golden/peers")
    return folder


@pytest.fixture(scope="module")
def recorded(peers: Path) -> dict[str, Tensor]:
    with np.load(peers / "GeSeNet" / "GeSeNet_16012.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def sources(peers: Path) -> list[Tensor]:
    with np.load(peers / "inputs_16012_u8.npz") as pixels:
        return [torch.from_numpy(pixels[name])[None, None] / 255 for name in ("ct_16012", "mri_16012")]


@pytest.fixture(params=["plain", "composed"])
def network(peers: Path, request: pytest.FixtureRequest) -> GeSeNet:
    network = GeSeNet()
    network.load_state_dict(network.convert_state_dict(load_file(peers / "GeSeNet" / "GeSeNet.safetensors")))
    return network.eval().use_form(request.param)


@torch.inference_mode()
def test_the_fused_image(network: GeSeNet, sources: list[Tensor], recorded: dict[str, Tensor]) -> None:
    torch.testing.assert_close(network.fuse(sources)[0, 0], recorded["fused_raw"], atol=1e-5, rtol=0)
    pair = [recorded[name][None, None] for name in ("synth_a", "synth_b")]
    torch.testing.assert_close(network.fuse(pair)[0, 0], recorded["synth_fused"], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_what_is_inside(peers: Path, sources: list[Tensor], recorded: dict[str, Tensor]) -> None:
    network = GeSeNet()
    network.load_state_dict(network.convert_state_dict(load_file(peers / "GeSeNet" / "GeSeNet.safetensors")))
    network.eval()
    for name, branch, source in zip(("vis", "inf"), (network.first, network.second), sources, strict=True):
        edges, region = branch(source)
        for module, found in (("eem", edges), ("rmm", region)):
            wanted = recorded[f"crop/{name}_{module}"]
            torch.testing.assert_close(found[0, :8, 120:136, 120:136], wanted, atol=1e-5, rtol=0)
        masks = branch.region.masks(edges)
        assert torch.equal(masks.spatial[0, 0].bool(), recorded[f"{name}_mask"])
        assert torch.equal(masks.dense[0], recorded[f"{name}_channel_mask"][..., 0])


@torch.inference_mode()
def test_the_weights_that_come_along_are_the_authors(peers: Path, sources: list[Tensor]) -> None:
    shipped = fusekit.load("gesenet.authors", device="cpu")
    theirs = GeSeNet.convert_state_dict(load_file(peers / "GeSeNet" / "GeSeNet.safetensors"))
    assert all(torch.equal(value, theirs[key]) for key, value in shipped.state_dict().items())
