"""Parity with the authors' program and weights, which stand in a folder of research data that is not always there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fusekit_msdra.convert import from_authors
from fusekit_msdra.model import MSDRA

GOLDEN = Path(os.environ.get("FUSEKIT_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "golden" / "peers"
pytestmark = [
    pytest.mark.skipif(
        not GOLDEN.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
    ),
    pytest.mark.filterwarnings("ignore:of the checkpoint these are left out"),
]
TOLERANCE: dict[str, Any] = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def sources() -> list[Tensor]:
    with np.load(GOLDEN / "inputs_16012_u8.npz") as arrays:
        return [torch.from_numpy(arrays[f"{name}_16012"])[None, None].float() / 255 for name in ("mri", "ct")]


@pytest.fixture(scope="module")
def authors() -> dict[str, Tensor]:
    with np.load(GOLDEN / "MSDRA_16012.npz") as arrays:
        return {key: torch.from_numpy(arrays[key])[None] for key in arrays}


def network_of(statistics: str, form: str) -> MSDRA:
    network = MSDRA(statistics).eval().use_form(form)
    network.load_state_dict(from_authors(load_file(GOLDEN / "MSDRA.safetensors"), statistics))
    return network


@pytest.mark.slow
@pytest.mark.parametrize(("statistics", "mode"), [("image", "train"), ("running", "eval")])
@torch.inference_mode()
def test_the_plain_modules_and_the_published_rule_are_the_authors(
    statistics: str, mode: str, sources: list[Tensor], authors: dict[str, Tensor]
) -> None:
    """The authors' script normalises by the statistics of each image; by the running ones little is left of it."""
    network, rule = network_of(statistics, "plain"), "msdra-signed"
    features = network.encode_sources(sources)
    crops = {"a": features[0], "b": features[1], "fused": network.choose_rule(rule).apply(features).features}
    for key, found in crops.items():
        torch.testing.assert_close(found[:, :, 120:136, 120:136], authors[f"feat_{key}_{mode}_16012_crop"], **TOLERANCE)
    torch.testing.assert_close(network.fuse(sources, rule), authors[f"fused_{mode}_16012"], **TOLERANCE)


@pytest.mark.parametrize("statistics", ["image", "running"])
@torch.inference_mode()
def test_the_composed_form_is_near_on_the_authors_weights(statistics: str, sources: list[Tensor]) -> None:
    network = network_of(statistics, "plain")
    sources = [each[:, :, 90:186, 60:150] for each in sources]
    wanted = network.fuse(sources)
    torch.testing.assert_close(network.use_form("composed").fuse(sources), wanted, atol=2e-5, rtol=0)
