from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import fusekit
from fusekit.extend import Objectives, WeightsError
from fusekit.testing import assert_no_findings, check_forms, check_model
from fusekit_mrscfusion.convert import from_authors
from fusekit_mrscfusion.fast.rows import DoubledConvolution3
from fusekit_mrscfusion.fast.winograd import LongWinograd
from fusekit_mrscfusion.model import Autoencoder, MRSCFusion
from fusekit_mrscfusion.objective import reconstruction_loss

#: Too narrow for anything but tests.
NARROW = (8, 12, 16, 20)


def images(count: int, *shape: int, seed: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def drawn() -> MRSCFusion:
    """Return a narrow network of which every parameter does something."""
    torch.manual_seed(0)
    network = MRSCFusion(NARROW).eval()
    for name, each in network.named_parameters():
        if name.endswith("position_bias"):
            torch.nn.init.normal_(each)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mrscfusion", "mrscfusion-autoencoder"])
def test_the_models_keep_the_contract(model: str) -> None:
    assert_no_findings(check_model(model, config={"widths": NARROW}))


@pytest.mark.slow
def test_the_composed_form_in_all_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 16 rows, so that the two finest maps have several.
    monkeypatch.setattr("fusekit_mrscfusion.fast.rows._PIXELS", 1024)
    assert_no_findings(check_forms(drawn(), sizes=((70, 60), (64, 64)), tolerance=2e-5))


@pytest.mark.parametrize("height", [3, 6, 8, 16, 21])
@torch.inference_mode()
def test_six_rows_at_once_are_the_convolution(height: int) -> None:
    weight, bias, x = torch.randn(24, 16, 3, 3), torch.randn(24), torch.randn(2, 16, height + 2, 11)
    wanted = F.conv2d(x, weight, bias)
    torch.testing.assert_close(LongWinograd(weight, bias)(x), wanted, atol=2e-4, rtol=0)


@pytest.mark.parametrize("rows", [slice(0, 12), slice(0, 4), slice(4, 8), slice(8, 12)])
@torch.inference_mode()
def test_a_doubled_map_is_convolved_without_being_made(rows: slice) -> None:
    weight, x = torch.randn(5, 3, 3, 3), torch.randn(2, 3, 6, 4)
    doubled = F.pad(F.interpolate(x, scale_factor=2, mode="nearest"), (1, 1, 1, 1), mode="reflect")
    out = torch.randn(2, 5, rows.stop - rows.start, 8)
    wanted = out + F.conv2d(doubled, weight)[:, :, rows]
    DoubledConvolution3(weight).add_to(out, x, rows)
    torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-5)


def test_every_parameter_is_counted_and_used() -> None:
    published = MRSCFusion()
    assert sum(each.numel() for each in Autoencoder().parameters()) == 2_732_761
    # The authors' 20,358,944 without what they never call: a 1×1 convolution 2C → C and a 3×3 one C → C a block.
    unused = sum(2 * width**2 + width + 9 * width**2 + width for width in (64, 112, 160, 208))
    assert sum(each.numel() for each in published.fusion.parameters()) == 20_358_944 - unused
    network = drawn().train()
    network.training_loss(images(2, 2, 1, 64, 64), Objectives(0.2, 0.0))[0].backward()
    without = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == [name for name, _ in network.named_parameters() if name.startswith(("encoder.", "decoder."))]


@pytest.mark.slow
@torch.inference_mode()
def test_the_composed_form_is_the_plain_one_image_by_image() -> None:
    network = drawn()
    sources = images(2, 2, 1, 70, 130)
    wanted = network.use_form("plain").fuse(sources)
    assert network.form == "plain"
    found = network.use_form("fastest").fuse(sources)
    assert network.form == "composed"
    scale = float(wanted.max())
    torch.testing.assert_close(found, wanted, atol=2e-5 * scale, rtol=0)
    alone = torch.cat([network.fuse([each[index : index + 1] for each in sources]) for index in range(2)])
    torch.testing.assert_close(found, alone, atol=2e-5 * scale, rtol=0)


@torch.inference_mode()
def test_the_composed_form_follows_weights_and_comes_along_in_no_copy() -> None:
    network: Any = drawn()
    sources = images(2, 1, 1, 64, 64)
    network.use_form("composed").fuse(sources)
    network.fusion[3].mri.blocks[1].attention.position_bias.mul_(3)
    network.decoder.last.weight.mul_(2)
    found = network.fuse(sources)
    torch.testing.assert_close(found, copy.deepcopy(network).use_form("plain").fuse(sources), atol=1e-4, rtol=1e-4)
    assert copy.deepcopy(network)._inference is None


@torch.inference_mode()
def test_in_bfloat16_it_is_near() -> None:
    network = drawn()
    sources = images(2, 1, 1, 64, 64)
    wanted = network.use_form("plain").fuse(sources)
    lesser = network.to(torch.bfloat16).use_form("composed").fuse([each.bfloat16() for each in sources])
    assert lesser.dtype == torch.bfloat16
    assert float((lesser.float() - wanted).abs().mean()) < 0.02 * float(wanted.abs().max())


@pytest.mark.slow
@torch.inference_mode()
def test_a_single_window_is_shifted_unless_told_otherwise() -> None:
    network = drawn()
    still = MRSCFusion(NARROW, shift_single_windows=False).eval()
    still.load_state_dict(network.state_dict())
    assert still.config["shift_single_windows"] is False
    small, larger = images(2, 1, 1, 64, 64), images(2, 1, 1, 128, 128)
    for form in network.forms:
        found, wanted = (each.use_form(form).fuse(small) for each in (network, still))
        assert not torch.allclose(found, wanted, atol=1e-4 * float(wanted.max()))
        torch.testing.assert_close(network.fuse(larger), still.fuse(larger))


# --- weights of others ---------------------------------------------------------------------------------------------


def authors(network: MRSCFusion) -> dict[str, dict[str, Tensor]]:
    """Return both files of the authors', under their names, of a network."""
    state, files = network.state_dict(), {"autoencoder": dict[str, Tensor](), "fusion": dict[str, Tensor]()}
    gradient = {"first": "dense.conv1.conv", "second": "dense.conv2.conv", "dense": "convdown.conv"}
    gradient |= {"along_x": "sobelconv.convx", "along_y": "sobelconv.convy", "gradient": "convup.conv"}
    swin = {"norm_attention": "norm1", "norm_perceptron": "norm2", "output": "attn.proj"}
    swin |= {"perceptron.0": "mlp.fc1", "perceptron.2": "mlp.fc2"}
    for key, value in state.items():
        parts = key.split(".")
        last = parts[-1]
        if parts[0] != "fusion":
            if parts[1] == "lift":
                name = "conv0.conv2d"
            elif parts[1] == "blocks":
                name = f"DB{int(parts[2]) + 1}_0.denseblock.{parts[3]}.conv2d"
            elif parts[1] == "nodes":
                name = f"DB{parts[2][0]}_{parts[2][1]}.denseblock.{parts[3]}.conv2d"
            else:
                name = "conv_out.conv2d"
            files["autoencoder"][f"{name}.{last}"] = value
            continue
        block, source = f"fusion_block{int(parts[1]) + 1}", {"mri": "mri", "other": "pet"}.get(parts[2], "")
        if parts[2] == "merge":
            name = "conv_after_body"
        elif parts[2] == "reduce":
            name = f"bottelblock.{parts[3]}.conv2d"
        elif parts[3] == "gradients":
            name = f"rgbd_{'ir' if parts[2] == 'mri' else 'vi'}.{gradient[parts[4]]}"
        elif parts[3] == "blocks":
            stem, inner = f"swin_IR1_{source}.residual_group.blocks.{parts[4]}", ".".join(parts[5:-1])
            if last == "position_bias":
                files["fusion"][f"{block}.{stem}.attn.relative_position_bias_table"] = value
                files["fusion"][f"{block}.{stem}.attn.relative_position_index"] = torch.zeros(64, 64).long()
                continue
            if inner == "attention.query":
                pair = torch.cat([value, state[key.replace(".query.", ".key_value.")]])
                files["fusion"][f"{block}.{stem}.attn.qkv.{last}"] = pair
                continue
            if inner == "attention.key_value":
                continue
            name = f"{stem}.{swin[inner.removeprefix('attention.')]}"
        else:
            name = {"before": f"conv_first_{source}", "behind": f"swin_IR1_{source}.conv"}.get(
                parts[3], f"conv_fusion_{source}.0.conv2d"
            )
        files["fusion"][f"{block}.{name}.{last}"] = value
    for number in range(1, 5):
        for unused in ("axial_fusion.0.conv2d.weight", "conv.bias"):
            files["fusion"][f"fusion_block{number}.{unused}"] = torch.zeros(3)
    return files


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[MRSCFusion, dict[str, Path]]:
    """Return a network of the published size, and two files of it as the authors save them."""
    torch.manual_seed(0)
    network = MRSCFusion()
    folder = tmp_path_factory.mktemp("authors")
    paths = {name: folder / f"{name}.safetensors" for name in ("autoencoder", "fusion")}
    for name, state in authors(network).items():
        save_file({key: each.contiguous() for key, each in state.items()}, paths[name])
    return network, paths


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_names_are_ours_renamed(prefix: str) -> None:
    network = drawn()
    own = network.state_dict()
    theirs = {prefix + key: value for state in authors(network).values() for key, value in state.items()}
    converted = MRSCFusion.convert_state_dict(theirs)
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[key], own[key]) for key in own)
    assert MRSCFusion.convert_state_dict(own) == own
    assert Autoencoder.convert_state_dict(own).keys() == Autoencoder(NARROW).state_dict().keys()


@pytest.mark.parametrize(
    "key",
    ["conv9.conv2d.weight", "fusion_block5.conv_after_body.weight", "fusion_block1.swin_IR1_us.conv.weight", "encoder"],
)
def test_an_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(WeightsError, match=f"the key '{key}' is not one of the authors' MRSCFusion"):
        from_authors({key: torch.zeros(3)})


def convert(model: str, files: list[Path], output: Path) -> str:
    from click.testing import CliRunner

    from fusekit.extend import FusekitError

    main: Any = __import__("fusekit.cli.main", fromlist=["main"]).main
    done = CliRunner().invoke(main, ["weights", "convert", *map(str, files), "--model", model, "-o", str(output)])
    if isinstance(done.exception, FusekitError):
        assert not output.exists()
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_both_files_become_one(published: tuple[MRSCFusion, dict[str, Path]], tmp_path: Path) -> None:
    network, paths = published
    both = tmp_path / "both.safetensors"
    assert "564 tensors of the model mrscfusion" in convert("mrscfusion", [*paths.values()], both)
    wanted, found = (each.state_dict() for each in (network, fusekit.load(both, device="cpu")))
    assert all(torch.equal(each, wanted[key]) for key, each in found.items())
    alone = tmp_path / "alone.safetensors"
    assert "44 tensors" in convert("mrscfusion-autoencoder", [paths["autoencoder"]], alone)
    # What was converted already is a part as well, and both networks' file has the autoencoder in it.
    again = tmp_path / "again.safetensors"
    convert("mrscfusion", [paths["fusion"], alone], again)
    convert("mrscfusion-autoencoder", [both], tmp_path / "out.safetensors")


@pytest.mark.slow
def test_files_that_are_not_all_of_it_are_refused(
    published: tuple[MRSCFusion, dict[str, Path]], tmp_path: Path
) -> None:
    (autoencoder, fusion), output = published[1].values(), tmp_path / "out.safetensors"
    one = convert("mrscfusion", [fusion], output)
    assert "fusion.safetensors holds 520 of the 564 tensors of the model 'mrscfusion'; if others are in another" in one
    assert "holds 'decoder.last.bias', which another file holds too" in convert(
        "mrscfusion", [autoencoder, fusion, autoencoder], output
    )
    assert "holds no part of the model 'mrscfusion-autoencoder'" in convert(
        "mrscfusion-autoencoder", [autoencoder, fusion], output
    )


# --- training ------------------------------------------------------------------------------------------------------


def test_the_autoencoders_loss_is_least_for_the_image_itself() -> None:
    first, second = images(2, 1, 1, 32, 32)
    assert float(reconstruction_loss(first, first)[0]) == pytest.approx(0, abs=1e-3)
    total, terms = reconstruction_loss(first, second)
    assert float(total) == pytest.approx(255**2 * float(terms["pixel"]) + 100 * float(terms["structure"]), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", [Autoencoder, MRSCFusion])
def test_a_few_steps_lower_the_loss(model: type[Autoencoder] | type[MRSCFusion]) -> None:
    torch.manual_seed(0)
    network = model(NARROW).train()
    sources = images(2, 1, 1, 64, 64)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(5):
        # As the trainer does where it is asked to.
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = network.training_loss(sources, Objectives(0.2, 0.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
