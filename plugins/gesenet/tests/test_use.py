"""The model as users meet it: roles, refusals, sizes, colour, depth, and the command that trains it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fusekit
from fusekit.extend import FusekitWarning, FusionModel, InputError, OptionError, RuleError


@pytest.fixture(scope="module")
def network() -> FusionModel:
    return fusekit.load("gesenet", device="cpu")


def pictures(*size: int, dtype: Any = np.uint8) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, np.iinfo(dtype).max, size, dtype=dtype) for _ in range(2)]


def test_roles_put_the_sources_in_order(network: FusionModel) -> None:
    other, mri = pictures(20, 24)
    with pytest.warns(FusekitWarning, match="takes the sources for ct/pet/spect, mri, in their order"):
        wanted = fusekit.fuse([other, mri], network)
    for role in ("ct", "pet", "spect"):
        fused = fusekit.fuse([mri, other], network, roles={"mri": 1, role: 2})
        assert (fused.image == wanted.image).all()
        assert [each["role"] for each in fused.record["sources"]] == ["ct/pet/spect", "mri"]
    with pytest.raises(OptionError, match="unknown role of the model 'gesenet' 'us'"):
        fusekit.fuse([mri, other], network, roles={"mri": 1, "us": 2})


def test_what_it_cannot_do_is_refused(network: FusionModel) -> None:
    pair = pictures(20, 24)
    with pytest.raises(RuleError, match=r"'gesenet' sees all sources in one network, .*for the rule 'mean'"):
        fusekit.fuse(pair, network, rule="mean")
    with pytest.raises(InputError, match=r"'gesenet' fuses 2 sources \(ct/pet/spect, mri\), and 3 were given"):
        fusekit.fuse([*pair, pair[0]], network)
    with pytest.raises(OptionError, match="'gesenet' takes whole images only"):
        fusekit.fuse(pair, network, tile=64, roles={"ct": 1, "mri": 2})


def test_odd_sizes_colour_and_sixteen_bits(network: FusionModel) -> None:
    roles: dict[str, Any] = {"pet": 1, "mri": 2}
    pet, mri = pictures(201, 173, 3)[0], pictures(201, 173)[1]
    fused = fusekit.fuse([pet, mri], network, roles=roles)
    assert (fused.image.shape, fused.image.dtype) == ((201, 173, 3), np.uint8)
    deep = fusekit.fuse(pictures(33, 17, dtype=np.uint16), network, roles=roles)
    assert (deep.image.shape, deep.image.dtype) == ((33, 17), np.uint16)
    assert len(np.unique(deep.image)) > 256


def test_the_weights_are_for_ct_pet_and_spect() -> None:
    roles: dict[str, Any] = {"ct": 1, "mri": 2}
    for modality in ("ct,mri", "pet,mri", "spect,mri"):
        assert fusekit.fuse(pictures(20, 24), "gesenet", roles=roles, modality=modality).record["doubts"] == []
    with pytest.warns(FusekitWarning, match="trained on CT/PET/SPECT and MRI, and the sources show US and MRI"):
        fusekit.fuse(pictures(20, 24), "gesenet", roles=roles, modality="us,mri")


@pytest.mark.process
def test_the_training_command_runs(tmp_path: Path) -> None:
    for folder, pixels in zip(("ct", "mri"), pictures(36, 40), strict=True):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "1001.png")
    options = ["--model", "gesenet", "--perceptual-weight", "0", "--steps", "2", "--batch", "1", "--crop", "32"]
    command = [sys.executable, "-m", "fusekit", "train", "ct", "mri", *options, "-o", "run"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    header = (tmp_path / "run" / "log.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "intensity,gradient,structure" in header
    network = fusekit.load(tmp_path / "run" / "weights.safetensors", device="cpu")
    assert network.spec.id == "gesenet"
