"""Parity with the authors' network and loss; their outputs were recorded once, beside their weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.golden import NEAR, PEERS, filled, needs_peers, recorded, sources
from torch import Tensor

from fusekit.extend import normalized_ms_ssim
from fusekit_mactfusion.model import MACTFusion
from fusekit_mactfusion.objective import fusion_loss

pytestmark = needs_peers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistics", "form", "mode"),
    [("running", "composed", "eval"), ("image", "plain", "train")],
)
@torch.inference_mode()
def test_the_fused_image(statistics: str, form: str, mode: str) -> None:
    network = filled(MACTFusion(statistics), "MACTFusion", form)
    (wanted,) = recorded("MACTFusion_16012", f"fused_{mode}_16012")
    torch.testing.assert_close(network.fuse(sources("mri", "ct")), wanted, **NEAR)


def test_the_loss() -> None:
    with np.load(PEERS / "losses.npz") as arrays:
        losses = {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}
    first, second, fused = (losses[f"{name}256"][None, None] for name in "ABF")
    total, terms = fusion_loss([first, second], fused)
    found = torch.stack([total, terms["intensity"], terms["structure"], terms["gradient"]]).double()
    torch.testing.assert_close(found, losses["mactfusion_total_int_ssim_grad_256"], **NEAR)
    similarity: Tensor = normalized_ms_ssim(fused, first).double()
    torch.testing.assert_close(similarity, losses["msssim_normalized_F_A_256"], **NEAR)
