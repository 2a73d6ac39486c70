from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import FusionModel, Objectives, OptionError, TrainingError, WeightsError
from fusekit.testing import assert_no_findings, check_model
from fusekit_mactfusion.attention import Attention, from_grid, from_windows, to_grid, to_windows
from fusekit_mactfusion.convert import UNUSED, from_authors
from fusekit_mactfusion.fast.attention import BandedAttention
from fusekit_mactfusion.fourier import fourier_convolution, smooth
from fusekit_mactfusion.model import MACTFusion
from fusekit_mactfusion.objective import fusion_loss


def images(count: int, *shape: int, seed: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def trained(statistics: str = "running") -> MACTFusion:
    """Return a network whose statistics are such as training leaves them, so that normalisation does something."""
    torch.manual_seed(0)
    network = MACTFusion(statistics)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.mark.slow
def test_the_model_keeps_the_contract() -> None:
    assert_no_findings(check_model("mactfusion"))


def test_every_parameter_is_counted_and_used() -> None:
    torch.manual_seed(0)
    network = MACTFusion().train()
    assert sum(each.numel() for each in network.parameters()) == 571_035
    network.fuse_jointly(*images(2, 2, 1, 16, 16)).square().mean().backward()
    unused = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert unused == []


@torch.inference_mode()
def test_sources_are_told_apart() -> None:
    first, second = images(2, 1, 1, 16, 16)
    network = trained()
    assert not torch.allclose(network.fuse([first, second]), network.fuse([second, first]), atol=1e-3)


@torch.inference_mode()
def test_statistics_of_the_image_are_those_of_training_mode_with_one_image() -> None:
    network = trained("image")
    sources = images(2, 3, 1, 16, 24)
    alone = [copy.deepcopy(network).train().fuse([each[index : index + 1] for each in sources]) for index in range(3)]
    torch.testing.assert_close(network.use_form("fastest").fuse(sources), torch.cat(alone), atol=1e-5, rtol=0)
    assert network.form == "plain"
    assert MACTFusion(**network.config).statistics == "image"
    with pytest.raises(OptionError, match="unknown statistics 'batch'; choose running or image"):
        MACTFusion("batch")


# --- parts -----------------------------------------------------------------------------------------------------------


def test_windows_and_grid_hold_the_pixels_that_they_should() -> None:
    x = torch.arange(2 * 16 * 24.0).view(2, 16, 24, 1)
    windows, grid = to_windows(x), to_grid(x)
    assert windows[1].flatten().tolist() == x[0, :8, 8:16].flatten().tolist()
    assert grid[4].flatten().tolist() == x[0, 1::2, 1::3].flatten().tolist()
    assert torch.equal(from_windows(windows, (16, 24)), x)
    assert torch.equal(from_grid(grid, (16, 24)), x)


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("crossing", [False, True])
@torch.inference_mode()
def test_attention_against_a_loop_over_queries(grid: bool, crossing: bool) -> None:
    torch.manual_seed(0)
    module = Attention(8, grid=grid)
    module.offset_bias.normal_()
    own, other = torch.randn(2, 1, 8, 16, 8)
    asked = other if crossing else None
    keys = module.norm(other if crossing else own)
    cut = to_grid if grid else to_windows
    q, k, v = (cut(each) for each in (module.query(module.norm(own)), *module.key_value(keys).chunk(2, dim=3)))
    wanted = torch.empty_like(q)
    for head in range(4):
        part = slice(2 * head, 2 * head + 2)
        for query in range(64):
            offsets = [(query // 8 - key // 8 + 7) * 15 + query % 8 - key % 8 + 7 for key in range(64)]
            bias = module.offset_bias[offsets, head]
            share = (0.5 * (k[..., part] @ q[:, query, part, None])[..., 0] + bias).softmax(-1)
            wanted[:, query, part] = (share[..., None] * v[..., part]).sum(1)
    found = module.attend(module.query(module.norm(own)), module.key_value(keys))
    torch.testing.assert_close(cut(found), wanted)
    torch.testing.assert_close(BandedAttention(module)(own, asked), module(own, asked), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(8, 8), (40, 16), (33, 70)])
def test_the_fourier_convolution_is_a_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 16, *size).double(), torch.randn(4, 4, 31, 31).double()
    wanted = F.conv2d(x, weight, padding=15, groups=4)
    torch.testing.assert_close(fourier_convolution(x, weight, 4), wanted)
    torch.testing.assert_close(fourier_convolution(x.float(), weight.float(), 4).double(), wanted, atol=1e-3, rtol=0)
    assert [smooth(number) for number in (1, 7, 31, 271, 1024)] == [1, 8, 32, 288, 1024]


@torch.inference_mode()
def test_the_composed_form_follows_weights_and_statistics() -> None:
    network: Any = trained().use_form("composed")
    sources = images(2, 2, 1, 16, 24)
    network.fuse(sources)
    network.decoder.layers[2].weight.mul_(2)
    network.mri.attention.convolutions.norm.running_mean.add_(0.3)
    found = network.fuse(sources)
    torch.testing.assert_close(found, network.use_form("plain").fuse(sources), atol=1e-5, rtol=1e-5)


# --- weights of others ---------------------------------------------------------------------------------------------


def authors(network: FusionModel) -> dict[str, Tensor]:
    """Return a state dict under the authors' names, as their class saves it."""
    from fusekit_mactfusion.convert import _MODULES

    theirs = {ours: name for name, ours in _MODULES.items()}
    state: dict[str, Tensor] = dict(network.state_dict())
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        module, _, parameter = key.rpartition(".")
        if parameter == "offset_bias":
            prefix = theirs[f"{module}.project"].removesuffix("proj")
            found[f"{prefix}relative_position_bias_table"] = value
            found[f"{prefix}relative_position_index"] = torch.zeros(64, 64, dtype=torch.long)
        elif ".attention." in key and module.endswith(("query", "key_value")):
            if module.endswith("query"):
                prefix = theirs[f"{module.removesuffix('query')}project"].removesuffix("proj")
                pair = state[key.replace(".query.", ".key_value.")]
                found[f"{prefix}qkv_mapping.{parameter}"] = torch.cat([value, pair])
        else:
            found[f"{theirs[module]}.{parameter}"] = value
    return found | {f"{name}0.weight": torch.zeros(1) for name in UNUSED}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("counters", [True, False])
def test_the_authors_names_are_ours_renamed(prefix: str, counters: bool) -> None:
    network = trained()
    theirs = {prefix + key: value for key, value in authors(network).items()}
    if not counters:
        theirs = {key: value for key, value in theirs.items() if not key.endswith("num_batches_tracked")}
    converted, own = MACTFusion.convert_state_dict(theirs), network.state_dict()
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[key], own[key]) for key in own)
    assert MACTFusion.convert_state_dict(own) == own


@pytest.mark.parametrize(
    "key", ["vis_conv.other.weight", "other.attention.qkv_mapping.weight", "x.attention.relative_position_bias_table"]
)
def test_an_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(WeightsError, match=f"the key '{key}' is not one of the authors' MACTFusion"):
        from_authors({key: torch.zeros(3)})


# --- training ------------------------------------------------------------------------------------------------------


def test_the_loss_is_least_for_equal_images() -> None:
    first, second = images(2, 1, 1, 32, 32)
    assert fusion_loss([first, first], first)[0] == pytest.approx(0, abs=1e-4)
    best, terms = fusion_loss([first, second], torch.maximum(first, second))
    assert terms["intensity"] == 0
    assert best < fusion_loss([first, second], (first + second) / 2)[0]
    with pytest.raises(TrainingError, match="MS-SSIM has 5 scales, and a side of 8; give --crop 16 or more"):
        fusion_loss([first[..., :8]] * 2, first[..., :8])


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    network: Any = MACTFusion().train()
    sources = images(2, 2, 1, 16, 16)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    losses = []
    for _ in range(4):
        # As the trainer does by default.
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = network.training_loss(sources, Objectives(0.0, 0.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
