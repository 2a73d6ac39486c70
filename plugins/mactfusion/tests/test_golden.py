"""Parity with the authors' network and loss; their outputs were recorded once, beside their weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fusekit.extend import normalized_ms_ssim
from fusekit_mactfusion.model import MACTFusion
from fusekit_mactfusion.objective import fusion_loss


@pytest.fixture(scope="module")
def peers() -> Path:
    beside = Path(__file__).resolve().parents[3].parent / "shared"
    folder = Path(os.environ.get("FUSEKIT_SHARED") or beside) / "golden" / "peers"
    if not (folder / "MACTFusion.safetensors").is_file():
        pytest.skip("the recorded outputs of MACTFusion are not here; FUSEKIT_SHARED names the folder of golden/peers")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistics", "form", "mode"),
    [("running", "composed", "eval"), ("image", "plain", "train")],
)
@torch.inference_mode()
def test_the_fused_image(peers: Path, statistics: str, form: str, mode: str) -> None:
    network = MACTFusion(statistics)
    network.load_state_dict(network.convert_state_dict(load_file(peers / "MACTFusion.safetensors")))
    network.eval().use_form(form)
    with np.load(peers / "inputs_16012_u8.npz") as pixels:
        sources = [torch.from_numpy(pixels[name])[None, None] / 255 for name in ("mri_16012", "ct_16012")]
    with np.load(peers / "MACTFusion_16012.npz") as arrays:
        wanted = torch.from_numpy(arrays[f"fused_{mode}_16012"])
    torch.testing.assert_close(network.fuse(sources)[0], wanted, atol=1e-5, rtol=0)


def test_the_loss(peers: Path) -> None:
    with np.load(peers / "losses.npz") as arrays:
        recorded = {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}
    first, second, fused = (recorded[f"{name}256"][None, None] for name in "ABF")
    total, terms = fusion_loss([first, second], fused)
    found = torch.stack([total, terms["intensity"], terms["structure"], terms["gradient"]]).double()
    torch.testing.assert_close(found, recorded["mactfusion_total_int_ssim_grad_256"], atol=1e-5, rtol=0)
    similarity: Tensor = normalized_ms_ssim(fused, first).double()
    torch.testing.assert_close(similarity, recorded["msssim_normalized_F_A_256"], atol=1e-5, rtol=0)
