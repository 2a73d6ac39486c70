"""Parity with the authors' network and loss; their outputs were recorded once, beside their weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fusekit.extend import normalized_ms_ssim
from fusekit_mactfusion.model import MACTFusion
from fusekit_mactfusion.objective import fusion_loss

SHARED = Path(os.environ.get("FUSEKIT_SHARED") or Path(__file__).parent / "../../../../shared")
PEERS = SHARED / "golden" / "peers"
#: How near a network comes to its authors'.
NEAR: dict[str, Any] = {"atol": 1e-5, "rtol": 0}
pytestmark = pytest.mark.skipif(
    not PEERS.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
)


def recorded(file: str, *names: str) -> list[Tensor]:
    """Return arrays of a file, with an axis of one in front."""
    with np.load(PEERS / f"{file}.npz") as arrays:
        return [torch.from_numpy(arrays[name])[None] for name in names]


def sources() -> list[Tensor]:
    """Return images MRI and CT of slice 16012, (1, 1, 256, 256) in [0, 1]."""
    return [each[None].float() / 255 for each in recorded("inputs_16012_u8", "mri_16012", "ct_16012")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistics", "form", "mode"),
    [("running", "composed", "eval"), ("image", "plain", "train")],
)
@torch.inference_mode()
def test_the_fused_image(statistics: str, form: str, mode: str) -> None:
    network = MACTFusion(statistics)
    network.load_state_dict(network.convert_state_dict(load_file(PEERS / "MACTFusion.safetensors")))
    network.eval().use_form(form)
    (wanted,) = recorded("MACTFusion_16012", f"fused_{mode}_16012")
    torch.testing.assert_close(network.fuse(sources()), wanted, **NEAR)


def test_the_loss() -> None:
    with np.load(PEERS / "losses.npz") as arrays:
        losses = {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}
    first, second, fused = (losses[f"{name}256"][None, None] for name in "ABF")
    total, terms = fusion_loss([first, second], fused)
    found = torch.stack([total, terms["intensity"], terms["structure"], terms["gradient"]]).double()
    torch.testing.assert_close(found, losses["mactfusion_total_int_ssim_grad_256"], **NEAR)
    similarity: Tensor = normalized_ms_ssim(fused, first).double()
    torch.testing.assert_close(similarity, losses["msssim_normalized_F_A_256"], **NEAR)
