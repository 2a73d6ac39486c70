"""MRSCFusion against the published network's outputs, statistics within it, and losses.

Weights are made of integers by `recipe`, for the small network and for the published one; nobody trained them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fusekit.extend import normalized_ms_ssim
from fusekit_mrscfusion.model import Autoencoder, MRSCFusion
from fusekit_mrscfusion.objective import (
    GRADIENT,
    fusion_loss,
    gradient_distance,
    sharpness,
    source_weights,
    stretched,
)

GOLDEN = Path(__file__).parent / "golden"
PEERS = Path(os.environ.get("FUSEKIT_SHARED") or GOLDEN / "../../../../../shared") / "golden" / "peers"
SMALL = (16, 24, 32, 36)
#: Of the greatest value of the output: rounding of float32.
TOLERANCE = 1e-5
#: The modules within the second block whose outputs were recorded, by the authors' names.
STAGES: dict[str, Callable[[Any], nn.Module]] = {
    "conv_first_mri": lambda block: block.mri.before,
    "conv_first_pet": lambda block: block.other.before,
    "swin_IR1_pet.residual_group.blocks.0": lambda block: block.other.blocks[0],
    "swin_IR1_pet.residual_group.blocks.1": lambda block: block.other.blocks[1],
    "swin_IR1_pet.residual_group": lambda block: block.other.blocks,
    "swin_IR1_pet.conv": lambda block: block.other.behind,
    "conv_after_body": lambda block: block.merge,
    "conv_fusion_mri": lambda block: block.mri.layer,
    "conv_fusion_pet": lambda block: block.other.layer,
    "rgbd_ir": lambda block: block.mri.gradients,
    "rgbd_vi": lambda block: block.other.gradients,
    "bottelblock": lambda block: block.reduce,
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "MRSCFusion_small_golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {key: each.float() for key, each in load_file(GOLDEN / "MRSCFusion_small_f16.safetensors").items()}


def small(state: dict[str, Tensor], built_for: int) -> MRSCFusion:
    """Return the small network; the published one asks at what size its lowest map is a single window."""
    network = MRSCFusion(SMALL, shift_single_windows=built_for > 64)
    network.load_state_dict(MRSCFusion.convert_state_dict(state))
    return network.eval()


def sources(recorded: dict[str, np.ndarray], name: str) -> list[Tensor]:
    """Return the MRI and the other source, which the authors call second and first."""
    return [torch.from_numpy(recorded[f"{name}/{each}"])[None, None] for each in ("second", "first")]


def check_image(found: Tensor, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(255 * found[0, 0].numpy(), wanted, atol=TOLERANCE * wanted.max(), rtol=0)


def check_statistics(maps: dict[str, Tensor], recorded: dict[str, np.ndarray], name: str) -> None:
    """Hold mean, deviation and eight values of each map against those that were recorded, by its greatest of them."""
    for key, each in maps.items():
        flat = each.contiguous().flatten().double()
        picked = [flat[len(flat) * index // 8 + len(flat) // 16] for index in range(8)]
        found = torch.stack([flat.mean(), flat.std(correction=0), *picked]).numpy()
        wanted = recorded[f"{name}/stat/{key}"]
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(found, wanted, atol=2 * TOLERANCE * scale, rtol=0, err_msg=f"{name} {key}")


def features_of(network: MRSCFusion, given: list[Tensor]) -> dict[str, Tensor]:
    """Return all scales of both sources' features and of the fused ones, by their recorded names."""
    mri, other = network.encode_sources(given)
    maps = {"enc_second": mri, "enc_first": other, "fused": network.fuse_bound([mri, other])}
    return {f"{name}{scale}": each for name, scales in maps.items() for scale, each in enumerate(scales, start=1)}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "composed"])
@pytest.mark.parametrize(
    ("name", "given", "built_for"),
    [("s64a", "s64a", 64), ("s64b", "s64b", 64), ("s128a", "s128a", 128), ("s64a_built256", "s64a", 256)],
)
@torch.inference_mode()
def test_fused_images_and_features(
    state: dict[str, Tensor], recorded: dict[str, np.ndarray], name: str, given: str, built_for: int, form: str
) -> None:
    network = small(state, built_for).use_form(form)
    maps = features_of(network, sources(recorded, given))
    check_statistics(maps, recorded, name)
    fused = network.decode([maps[f"fused{scale}"] for scale in range(1, 5)])
    check_image(fused, recorded[f"{name}/raw"])
    low, high = fused.min(), fused.max()
    wanted = recorded[f"{name}/stretched"]
    np.testing.assert_allclose(((fused - low) / (high - low))[0, 0].numpy(), wanted, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_statistics_within_a_block_and_the_decoder(state: dict[str, Tensor], recorded: dict[str, np.ndarray]) -> None:
    network: Any = small(state, 128)
    block, maps = network.fusion[1], dict[str, Tensor]()
    watched = {f"block2.{name}": of(block) for name, of in STAGES.items()}
    watched |= {f"decoder.DB{key[0]}_{key[1]}": each for key, each in network.decoder.nodes.items()}
    watched["decoder.conv_out"] = network.decoder.last

    def watch(name: str, module: nn.Module) -> Any:
        return module.register_forward_hook(lambda _, __, output: maps.setdefault(name, output))

    hooks = [watch(name, module) for name, module in watched.items()]
    mri, other = network.encode_sources(sources(recorded, "s128a"))
    network.use_form("plain").decode(network.fuse_bound([mri, other]))
    for hook in hooks:
        hook.remove()
    # The authors' lie there as tokens, which is the order of maps with channels last.
    for name, branch, scales in (("mri", block.mri, mri), ("pet", block.other, other)):
        maps[f"block2.swin_IR1_{name}"] = branch.attended(scales[1]).permute(0, 2, 3, 1)
    # The image whose map before all scales was recorded is the MRI.
    maps["decoder.conv0"] = network.encoder.lift(255 * sources(recorded, "s128a")[0])
    own, layer = block.mri.gradients, block.mri.layer(mri[1])
    first = nn.functional.leaky_relu(own.first(layer), 0.2)
    second = nn.functional.leaky_relu(own.second(torch.cat([layer, first], 1)), 0.2)
    maps["block2.rgbd_ir.dense"] = torch.cat([layer, first, second], 1)
    maps["block2.rgbd_ir.sobelconv"] = own.along_x(layer).abs() + own.along_y(layer).abs()
    check_statistics(maps, recorded, "s128a")
    features = tuple(f"{each}{scale}" for each in ("enc_first", "enc_second", "fused") for scale in range(1, 5))
    names = {key.removeprefix("s128a/stat/") for key in recorded if key.startswith("s128a/stat/")}
    assert names == {*maps, *features}


@torch.inference_mode()
def test_the_last_relu_cuts(state: dict[str, Tensor], recorded: dict[str, np.ndarray]) -> None:
    network: Any = small(state, 128)
    network.decoder.last.bias += float(recorded["s128a_cut/bias_shift"])
    fused = network.fuse(sources(recorded, "s128a"))
    assert 0.3 < float((fused == 0).float().mean()) < 0.7
    check_image(fused, recorded["s128a_cut/raw"])
    check_image(network.use_form("composed").fuse(sources(recorded, "s128a")), recorded["s128a_cut/raw"])


@torch.inference_mode()
def test_sources_are_told_apart(state: dict[str, Tensor], recorded: dict[str, np.ndarray]) -> None:
    mri, other = sources(recorded, "s128a")
    check_image(small(state, 128).fuse([other, mri]), recorded["s128a_swapped/raw"])


@torch.inference_mode()
def test_the_autoencoder_alone_on_odd_sides(state: dict[str, Tensor], recorded: dict[str, np.ndarray]) -> None:
    network = Autoencoder(SMALL)
    # Of a checkpoint that holds both networks it takes its own.
    network.load_state_dict(Autoencoder.convert_state_dict(state))
    image = torch.from_numpy(recorded["ae61x70/in"])[None, None]
    check_image(network.eval().reconstruct(image), recorded["ae61x70/raw"])


# --- the published size ----------------------------------------------------------------------------------------------


def recipe(name: str, shape: list[int], number: int) -> Tensor:
    """Return the values of a parameter of the published network: a hash of places and of its ``number``."""
    count, word = int(np.prod(shape)), np.uint64(0xFFFFFFFF)
    h = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(number * 2246822519 + 374761393)) & word
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & word
    u = (h ^ (h >> np.uint64(16))).astype(np.float64) / 2**31 - 1
    if name.endswith("relative_position_bias_table"):
        u = 0.3 * u
    elif ".norm" in name and name.endswith("weight"):
        u = 1 + 0.2 * u
    elif name.endswith("bias"):
        u = 0.05 * u
    else:
        u = (1.0 if len(shape) == 2 else 1.25) * u * np.sqrt(3 / np.prod(shape[1:]))
    values = torch.from_numpy(u.astype(np.float32)).half().float().reshape(shape)
    return values.abs() if name == "nest.conv_out.conv2d.weight" else values


@pytest.mark.slow
@torch.inference_mode()
def test_the_published_size() -> None:
    about = json.loads((GOLDEN / "MRSCFusion_keys.json").read_text(encoding="utf-8"))["full"]
    state, network = {}, MRSCFusion().eval()
    for number, (name, shape) in enumerate(about["keys"].items()):
        if name.endswith(("convx.weight", "convy.weight")):
            continue
        state[name] = recipe(name, shape, number)
        first, last, total = about["checks"][name]
        flat = state[name].flatten().double()
        assert (float(flat[0]), float(flat[-1])) == (first, last)
        assert float(flat.sum()) == pytest.approx(total, abs=1e-9)
    # Sobel kernels are what a new network has.
    missing, unexpected = network.load_state_dict(MRSCFusion.convert_state_dict(state), strict=False)
    assert not unexpected
    assert all(".gradients.along_" in each for each in missing)
    with np.load(GOLDEN / "MRSCFusion_full_golden.npz") as arrays:
        recorded = dict(arrays)
    for form in network.forms:
        network.use_form(form)
        maps = features_of(network, sources(recorded, "s256"))
        check_statistics(maps, recorded, "s256")
        check_image(network.decode([maps[f"fused{scale}"] for scale in range(1, 5)]), recorded["s256/raw"])


# --- the objective ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def losses() -> dict[str, Tensor]:
    if not (PEERS / "losses.npz").is_file():
        pytest.skip("the recorded losses are not here; FUSEKIT_SHARED names the folder of golden/peers")
    with np.load(PEERS / "losses.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])).float() for name in arrays}


def test_terms_of_the_objective(losses: dict[str, Tensor]) -> None:
    a, b, fused = (losses[f"{name}256"][None, None] for name in "ABF")
    for name in ("msssim_normalized_F_A_256", "msssim_normalized_F_A_256_x255"):
        assert float(normalized_ms_ssim(fused, a)) == pytest.approx(float(losses[name]), abs=1e-5)
    # Of MRI and CT it weighs 10, which is 50 times the default of λ₁.
    gradient = 0.2 * GRADIENT * gradient_distance(fused, a, b)
    assert float(gradient) == pytest.approx(float(losses["mrsc_grad_ct_x255"]), rel=1e-4)
    first = 0.7 * 255 * torch.cat([a, b, fused, a * b], dim=1)
    second = 0.6 * 255 * torch.cat([b, fused, a, a / 2], dim=1)
    measure = [float(sharpness(each)) for each in (first, second)]
    assert measure == pytest.approx(losses["mrsc_feature_measure"].tolist(), rel=1e-4)
    assert source_weights(first, second).tolist() == pytest.approx(losses["mrsc_weights"].tolist(), rel=1e-4)


def test_the_whole_objective(losses: dict[str, Tensor]) -> None:
    a, b, fused = (losses[f"{name}256"][None, None] for name in "ABF")
    features = [[scale * each.repeat(1, 2, 1, 1) for scale in (200, 150, 100, 50)] for each in (a, b)]
    found = [each + 1 for each in features[0]]
    total, terms = fusion_loss([a, b], 3 * fused + 7, features, found, 2.0)
    assert float(total) == pytest.approx(sum(map(float, terms.values())), rel=1e-6)
    first, second = source_weights(features[0][0], features[1][0]).tolist()
    # The fused image is stretched to its own extremes first, whatever its range.
    image = (fused - fused.min()) / (fused.max() - fused.min())
    torch.testing.assert_close(stretched(3 * fused + 7), image, atol=1e-6, rtol=0)
    structure = first * (1 - normalized_ms_ssim(image, a)) + second * (1 - normalized_ms_ssim(image, b))
    assert float(terms["structure"]) == pytest.approx(1000 * float(structure), rel=1e-4)
    assert float(terms["gradient"]) == pytest.approx(100 * float(gradient_distance(image, a, b)), rel=1e-4)
    distance = 0.0
    for factor, each, one, two in zip((1, 10, 100, 1000), found, *features, strict=True):
        distance += factor * float((each - 10 * (first * one + second * two)).abs().mean())
    assert float(terms["feature"]) == pytest.approx(distance, rel=1e-4)
