"""SwinFusion against the published network's outputs, intermediate statistics and losses; and its contract."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fusekit.extend import Objectives
from fusekit.testing import assert_no_findings, check_forms, check_model, check_use
from fusekit_swinfusion.losses import training_terms
from fusekit_swinfusion.model import SwinFusion

#: Outputs of the published network with random weights, on synthetic images.
GOLDEN = Path(__file__).parent / "golden"
#: What losses of others gave, which stands in a folder of research data that is not always there.
LOSSES = Path(os.environ.get("FUSEKIT_SHARED") or GOLDEN / "../../../../../shared") / "golden" / "peers" / "losses.npz"
SIZES = ["s64a", "s64b", "s72x88", "s61x70", "s128"]
#: The modules whose outputs were recorded, by the authors' names.
STAGES = {
    "layers_Ex_A.0": "extract_a",
    "norm_Ex_A": "norm_extract_a",
    "layers_Ex_B.0": "extract_b",
    "norm_Ex_B": "norm_extract_b",
    "layers_Ex_A.0.residual_group.blocks.0": "extract_a.0",
    "layers_Ex_A.0.residual_group.blocks.1": "extract_a.1",
    "layers_Fusion.0.residual_group_A": "fusing.0.within_a",
    "layers_Fusion.0.residual_group_B": "fusing.0.within_b",
    "layers_Re.0": "reconstruct",
    "norm_Re": "norm_reconstruct",
    "norm_Fusion_A": "norm_fused_a",
    "norm_Fusion_B": "norm_fused_b",
    "conv_after_body_Fusion": "merge",
    "conv_last1": "last.0",
    "conv_last2": "last.1",
    "conv_last3": "last.2",
}


#: Those that the published network activates in place, before they were recorded.
ACTIVATED = ("conv_after_body_Fusion", "conv_last1", "conv_last2")


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "SwinFusion_golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def network(recorded: dict[str, np.ndarray]) -> SwinFusion:
    state = load_file(GOLDEN / "SwinFusion_random_f16.safetensors")
    network = SwinFusion()
    network.load_state_dict(SwinFusion.convert_state_dict({key: each.float() for key, each in state.items()}))
    return network.eval()


def sources(recorded: dict[str, np.ndarray], name: str) -> list[Tensor]:
    return [torch.from_numpy(recorded[f"{name}/{each}"])[None, None] for each in "AB"]


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("form", ["plain", "composed"])
@pytest.mark.parametrize("name", SIZES)
def test_fused_images(network: SwinFusion, recorded: dict[str, np.ndarray], name: str, form: str) -> None:
    fused = network.use_form(form).fuse(sources(recorded, name))[0, 0].numpy()
    np.testing.assert_allclose(fused, recorded[f"{name}/fused"], atol=1e-5, rtol=0)


@pytest.mark.slow
@torch.inference_mode()
def test_the_padding_of_the_published_script(network: SwinFusion, recorded: dict[str, np.ndarray]) -> None:
    """The script mirrors onto the next greater multiple of 8, the last pixel repeated, before the network."""
    for name in ("64a", "61x70"):
        given = sources(recorded, f"s{name}")
        height, width = given[0].shape[2:]
        padded = [np.pad(each[0, 0], ((0, 8 - height % 8), (0, 8 - width % 8)), "symmetric") for each in given]
        fused = network.fuse([torch.from_numpy(each)[None, None] for each in padded])[0, 0, :height, :width].numpy()
        np.testing.assert_allclose(fused, recorded[f"p{name}/fused"], atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["s64a", "s61x70"])
def test_statistics_of_the_stages(network: SwinFusion, recorded: dict[str, np.ndarray], name: str) -> None:
    found: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(ours).register_forward_hook(
            lambda module, given, output, theirs=theirs: found.setdefault(theirs, output)
        )
        for theirs, ours in STAGES.items()
    ]
    network.use_form("plain").fuse(sources(recorded, name))
    for hook in hooks:
        hook.remove()
    for theirs in ACTIVATED:
        found[theirs] = torch.nn.functional.leaky_relu(found[theirs], 0.2)
    statistics = {theirs: (each.double().mean(), each.double().std(correction=0)) for theirs, each in found.items()}
    assert {theirs: tuple(map(float, each)) for theirs, each in statistics.items()} == {
        theirs: pytest.approx(tuple(recorded[f"{name}/stat/{theirs}"][:2]), abs=1e-5) for theirs in STAGES
    }


@pytest.mark.slow
@torch.inference_mode()
def test_float64(network: SwinFusion, recorded: dict[str, np.ndarray]) -> None:
    exact = SwinFusion().double().eval()
    exact.load_state_dict(network.state_dict())
    fused = exact.fuse([each.double() for each in sources(recorded, "s64a")])[0, 0].numpy()
    np.testing.assert_allclose(fused, recorded["s64a/fused_float64"], atol=1e-9, rtol=0)


@pytest.mark.skipif(not LOSSES.is_file(), reason="recorded losses are not there; FUSEKIT_SHARED names their folder")
@pytest.mark.parametrize("size", ["64", "256"])
def test_losses(size: str) -> None:
    with np.load(LOSSES) as arrays:
        a, b, fused = (torch.from_numpy(arrays[f"{each}{size}"]).float().reshape(1, 1, int(size), -1) for each in "ABF")
        total, gradient, intensity, similarity = arrays[f"swinfusion_total_grad_int_ssim_{size}"]
    found, terms = training_terms(a, b, fused)
    wanted = {"gradient": gradient / 100, "intensity": intensity / 20, "similarity": similarity / 50}
    assert float(found) == pytest.approx(total, rel=1e-4)
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
def test_the_model_keeps_the_contract() -> None:
    assert_no_findings(check_model("swinfusion"))


def test_every_parameter_is_counted_and_used() -> None:
    network = SwinFusion()
    assert sum(each.numel() for each in network.parameters()) == 965_251
    a, b = torch.rand(2, 1, 1, 16, 24)
    network.training_loss([a, b], Objectives(0.0, 0.0))[0].backward()
    assert all(each.grad is not None for each in network.parameters())


@pytest.mark.slow
@torch.inference_mode()
def test_a_batch_is_its_images() -> None:
    torch.manual_seed(1)
    network = SwinFusion().eval()
    for name, each in network.named_parameters():
        if "position_bias" in name:
            nn.init.normal_(each)
    a, b = torch.rand(2, 3, 1, 24, 16)
    together = network.use_form("fastest").fuse([a, b])
    assert network.form == "composed"
    alone = torch.cat([network.fuse([x[None], y[None]]) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_composed_form_follows_weights_and_comes_along_in_no_copy() -> None:
    torch.manual_seed(2)
    network = SwinFusion().eval()
    sources = list(torch.rand(2, 1, 1, 16, 24))
    network.use_form("composed").fuse(sources)
    for name, each in network.named_parameters():
        if "position_bias" in name:
            nn.init.normal_(each)
    found = network.fuse(sources)
    torch.testing.assert_close(found, network.use_form("plain").fuse(sources), atol=1e-4, rtol=1e-4)
    assert copy.deepcopy(network)._inference is None


@pytest.mark.slow
def test_the_composed_form_in_all_precisions(network: SwinFusion) -> None:
    assert_no_findings(check_forms(copy.deepcopy(network), sizes=((16, 24), (21, 40))))


def test_users_meet_it_as_they_expect() -> None:
    torch.manual_seed(0)
    network: Any = SwinFusion().eval().use_form("fastest")
    # Its first outputs are near 0, and of either sign.
    nn.init.constant_(network.last[-1].bias, 0.5)
    assert_no_findings(check_use(network))
