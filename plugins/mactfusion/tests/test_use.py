"""The model as users meet it: roles, refusals, sizes, colour, depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fusekit
from fusekit.extend import FusekitWarning, FusionModel, InputError, OptionError, RuleError, WeightsError
from fusekit_mactfusion.model import MACTFusion


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of weights that nobody trained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    MACTFusion().save(folder)
    return folder


@pytest.fixture(scope="module")
def network(weights: Path) -> FusionModel:
    return fusekit.load(weights, device="cpu")


def pictures(*size: int, dtype: Any = np.uint8) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, np.iinfo(dtype).max, size, dtype=dtype) for _ in range(2)]


def test_roles_put_the_sources_in_order(network: FusionModel) -> None:
    mri, ct = pictures(20, 24)
    with pytest.warns(FusekitWarning, match="takes the sources for mri, ct, in their order; --role mri=SOURCE"):
        wanted = fusekit.fuse([mri, ct], network)
    fused = fusekit.fuse([ct, mri], network, roles={"ct": 1, "mri": 2})
    assert (fused.image == wanted.image).all()
    assert [each["role"] for each in fused.record["sources"]] == ["mri", "ct"]
    with pytest.raises(OptionError, match="unknown role of the model 'mactfusion' 'pet'"):
        fusekit.fuse([ct, mri], network, roles={"mri": 1, "pet": 2})
    with pytest.raises(OptionError, match="'mactfusion' fuses mri, ct; say which source is 'ct', as --role"):
        fusekit.fuse([ct, mri], network, roles={"mri": 1})


def test_it_comes_without_weights_and_says_how_to_get_some() -> None:
    with pytest.raises(WeightsError, match="fusekit weights convert CHECKPOINT --model mactfusion"):
        fusekit.load("mactfusion")


def test_what_it_cannot_do_is_refused(network: FusionModel) -> None:
    pair = pictures(20, 24)
    with pytest.raises(RuleError, match=r"'mactfusion' sees all sources in one network, .*for the rule 'mean'"):
        fusekit.fuse(pair, network, rule="mean")
    with pytest.raises(InputError, match=r"'mactfusion' fuses 2 sources \(mri, ct\), and 3 were given"):
        fusekit.fuse([*pair, pair[0]], network)
    with pytest.raises(OptionError, match="'mactfusion' takes whole images only"):
        fusekit.fuse(pair, network, tile=64, roles={"ct": 1, "mri": 2})


def test_odd_sizes_colour_and_sixteen_bits(network: FusionModel) -> None:
    roles: dict[str, Any] = {"ct": 1, "mri": 2}
    colored, grey = pictures(201, 173, 3)[0], pictures(201, 173)[1]
    fused = fusekit.fuse([colored, grey], network, roles=roles)
    assert (fused.image.shape, fused.image.dtype) == ((201, 173, 3), np.uint8)
    deep = fusekit.fuse(pictures(33, 17, dtype=np.uint16), network, roles=roles)
    assert (deep.image.shape, deep.image.dtype) == ((33, 17), np.uint16)
    assert len(np.unique(deep.image)) > 256
