"""The model as users meet it: roles, refusals, sizes, colour, depth, and the commands that train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import run_cli
from PIL import Image
from safetensors.torch import load_file

import fusekit
from fusekit.extend import FusekitWarning, FusionModel, InputError, OptionError, RuleError, WeightsError
from fusekit.testing import assert_no_findings, check_use
from fusekit_mrscfusion.model import Autoencoder, MRSCFusion

NARROW = (8, 12, 16, 20)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of weights that nobody trained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    MRSCFusion(NARROW).save(folder)
    return folder


@pytest.fixture(scope="module")
def network(weights: Path) -> FusionModel:
    return fusekit.load(weights, device="cpu")


@pytest.mark.slow
def test_users_meet_it_as_they_expect(network: FusionModel) -> None:
    assert_no_findings(check_use(network))


def pictures(*size: int, dtype: Any = np.uint8) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, np.iinfo(dtype).max, size, dtype=dtype) for _ in range(2)]


def test_roles_put_the_sources_in_order(network: FusionModel) -> None:
    mri, other = pictures(20, 24)
    with pytest.warns(FusekitWarning, match="takes the sources for mri, ct/pet/spect, in their order; --role mri="):
        wanted = fusekit.fuse([mri, other], network)
    for role in ("ct", "pet", "spect"):
        fused = fusekit.fuse([other, mri], network, roles={role: 1, "mri": 2})
        assert (fused.image == wanted.image).all()
        assert [each["role"] for each in fused.record["sources"]] == ["mri", "ct/pet/spect"]
    with pytest.raises(OptionError, match="unknown role of the model 'mrscfusion' 'us'"):
        fusekit.fuse([mri, other], network, roles={"mri": 1, "us": 2})


def test_what_it_cannot_do_is_refused(network: FusionModel) -> None:
    pair = pictures(20, 24)
    with pytest.raises(RuleError, match=r"'mrscfusion' has a fusion network of its own and cannot use the rule 'mean'"):
        fusekit.fuse(pair, network, rule="mean")
    with pytest.raises(InputError, match=r"'mrscfusion' fuses 2 sources \(mri, ct/pet/spect\), and 3 were given"):
        fusekit.fuse([*pair, pair[0]], network)
    with pytest.raises(OptionError, match="'mrscfusion' takes whole images only"):
        fusekit.fuse(pair, network, tile=64, roles={"ct": 1, "mri": 2})


def test_it_comes_without_weights_and_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError,
        match=r"fusekit train FOLDERS --model mrscfusion-autoencoder -o BASE, then fusekit train FOLDERS --model "
        r"mrscfusion --init BASE -o RUN\) or convert published ones \(fusekit weights convert",
    ):
        fusekit.load("mrscfusion")
    with pytest.raises(WeightsError, match=r"train some \(fusekit train FOLDERS --model mrscfusion-autoencoder -o RUN"):
        fusekit.load("mrscfusion-autoencoder")
    Autoencoder(NARROW).save(tmp_path)
    with pytest.raises(WeightsError, match="holds weights of the model 'mrscfusion-autoencoder', not of 'mrscfusion'"):
        fusekit.load("mrscfusion", weights=tmp_path)


@pytest.mark.slow
def test_odd_sizes_colour_and_sixteen_bits(network: FusionModel) -> None:
    roles: dict[str, Any] = {"pet": 1, "mri": 2}
    colored, grey = pictures(201, 173, 3)[0], pictures(201, 173)[1]
    fused = fusekit.fuse([colored, grey], network, roles=roles)
    assert (fused.image.shape, fused.image.dtype) == ((201, 173, 3), np.uint8)
    deep = fusekit.fuse(pictures(33, 17, dtype=np.uint16), network, roles=roles)
    assert (deep.image.shape, deep.image.dtype) == ((33, 17), np.uint16)
    assert len(np.unique(deep.image)) > 256


def test_what_it_gives_is_stretched(network: FusionModel) -> None:
    fused = fusekit.fuse(pictures(40, 30), network, roles={"mri": 1, "ct": 2})
    assert (fused.image.min(), fused.image.max()) == (0, 255)


def test_the_autoencoder_takes_any_rule_and_number(tmp_path: Path) -> None:
    Autoencoder(NARROW).save(tmp_path)
    pair = pictures(37, 41)
    for rule in (None, "max"):
        assert fusekit.fuse([*pair, pair[0]], tmp_path, rule=rule).image.shape == (37, 41)


@pytest.mark.slow
def test_the_training_commands_run(tmp_path: Path) -> None:
    folders, run = [tmp_path / "mri", tmp_path / "ct"], tmp_path / "run"
    for folder, pixels in zip(folders, pictures(70, 80), strict=True):
        folder.mkdir()
        Image.fromarray(pixels).save(folder / "1001.png")
    short = ["--perceptual-weight", "0", "--steps", "2", "--batch", "1", "--crop", "64", "--device", "cpu"]
    refused = run_cli(["train", *folders, *short, "--model", "mrscfusion", "-o", run])
    assert refused.code == 2
    assert "the model 'mrscfusion' is trained from trained weights of 'mrscfusion-autoencoder'" in refused.err
    assert "--model mrscfusion-autoencoder -o BASE), and give --init BASE" in refused.err
    assert not run.exists()
    # From drawn weights of the published size, and from narrow ones, which the fusion network is as wide as.
    drawn, narrow, base = (tmp_path / name for name in ("drawn", "narrow", "base"))
    Autoencoder(NARROW).save(narrow)
    for options in (
        ("--model", "mrscfusion-autoencoder", "-o", drawn),
        ("--model", "mrscfusion-autoencoder", "--init", narrow, "-o", base),
        ("--model", "mrscfusion", "--init", base, "-o", run),
    ):
        done = run_cli(["train", *folders, *short, *options])
        assert done.code == 0, done.err
    header = (run / "log.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "structure,feature,gradient" in header
    trained, kept = (load_file(folder / "weights.safetensors") for folder in (base, run))
    # The autoencoder is what it was.
    assert trained.keys() == {name for name in kept if not name.startswith("fusion.")}
    assert all(torch.equal(kept[name], each) for name, each in trained.items())
    assert fusekit.load(run, device="cpu").spec.id == "mrscfusion"
    assert fusekit.load(drawn, device="cpu").spec.id == "mrscfusion-autoencoder"
