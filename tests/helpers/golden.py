"""What networks of others gave, recorded beside their authors' weights in a folder of research data, if it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fusekit.extend import FusionModel
from helpers.paths import SHARED

PEERS = SHARED / "golden" / "peers"
needs_peers = pytest.mark.skipif(
    not PEERS.is_dir(), reason="the authors' weights and outputs are not there; FUSEKIT_SHARED names their folder"
)
#: How near a network comes to its authors'.
NEAR: dict[str, Any] = {"atol": 1e-5, "rtol": 0}
#: Rows and columns of features that were recorded.
CROP = (..., slice(120, 136), slice(120, 136))


def sources(*names: str) -> list[Tensor]:
    """Return images ``ct`` and ``mri`` of slice 16012, (1, 1, 256, 256) in [0, 1]."""
    return [each[None].float() / 255 for each in recorded("inputs_16012_u8", *(f"{name}_16012" for name in names))]


def recorded(file: str, *names: str) -> list[Tensor]:
    """Return arrays of a file, with an axis of one in front."""
    with np.load(PEERS / f"{file}.npz") as arrays:
        return [torch.from_numpy(np.asarray(arrays[name]))[None] for name in names]


def filled(network: FusionModel, file: str, form: str = "plain") -> Any:
    """Return a network with its authors' weights, in evaluation mode and in one of its forms."""
    network.load_state_dict(network.convert_state_dict(load_file(PEERS / f"{file}.safetensors")))
    return network.eval().use_form(form)
