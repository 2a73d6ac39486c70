"""Parity with the authors' code; its outputs were recorded once, in evaluation mode (golden/)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fusekit.extend import EncoderDecoder, build_rule
from fusekit_ehdran.model import DILRAN, EHDRAN
from fusekit_ehdran.rules.nuclear import nuclear_norms

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE: dict[str, Any] = {"atol": 1e-4, "rtol": 0}


def from_published(network: EncoderDecoder, path: Path) -> EncoderDecoder:
    network.load_state_dict(network.convert_state_dict(load_file(path)))
    return network.eval()


def close(found: torch.Tensor, wanted: np.ndarray, **tolerance: Any) -> None:
    torch.testing.assert_close(found.double(), torch.from_numpy(wanted).double(), **(tolerance or TOLERANCE))


@pytest.fixture(scope="module", params=["plain", "composed"])
def ehdran(request: pytest.FixtureRequest) -> EncoderDecoder:
    return from_published(EHDRAN(), GOLDEN / "authors_keys_f16.safetensors").use_form(request.param)


@pytest.fixture(scope="module", params=["0", "1"])
def recorded(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """Return what was recorded of one of the two pairs of sources."""
    with np.load(GOLDEN / "io.npz") as arrays:
        prefix = f"{request.param}."
        return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}


def source(recorded: dict[str, np.ndarray], name: str) -> torch.Tensor:
    return torch.from_numpy(recorded[name])[None, None]


@torch.inference_mode()
@pytest.mark.parametrize("name", ["a", "b"])
def test_reconstructions(ehdran: EncoderDecoder, recorded: dict[str, np.ndarray], name: str) -> None:
    close(ehdran.reconstruct(source(recorded, name))[0, 0], recorded[f"recon_{name}"])


@torch.inference_mode()
def test_features(ehdran: EncoderDecoder, recorded: dict[str, np.ndarray]) -> None:
    features = ehdran.encode(source(recorded, "a"))[0]
    close(features[:, 32:40, 32:40], recorded["features_a"])
    close(features.mean((1, 2)), recorded["features_mean_a"])
    close(features.std((1, 2)), recorded["features_std_a"])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["a", "b"])
def test_nuclear_norms(ehdran: EncoderDecoder, recorded: dict[str, np.ndarray], name: str) -> None:
    found = nuclear_norms([ehdran.encode(source(recorded, name))])[0, 0]
    close(found, recorded[f"nuclear_{name}"])


@torch.inference_mode()
def test_weights_and_fused_image(ehdran: EncoderDecoder, recorded: dict[str, np.ndarray]) -> None:
    fused, weights, _ = ehdran.run([source(recorded, "a"), source(recorded, "b")], ehdran.choose_rule("sfnn"))
    close(weights[0].flatten(), recorded["weights"])
    close(fused[0, 0], recorded["fused"])


@pytest.fixture(scope="module")
def peers() -> Path:
    folder = Path(os.environ.get("FUSEKIT_SHARED") or GOLDEN / "../../../../../shared") / "golden" / "peers"
    if not (folder / "DILRAN.safetensors").is_file():
        pytest.skip("the published DILRAN weights are not here; FUSEKIT_SHARED names the folder of golden/peers")
    return folder


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("form", ["plain", "composed"])
def test_dilran_with_its_published_weights(peers: Path, form: str) -> None:
    network = from_published(DILRAN(), peers / "DILRAN.safetensors").use_form(form)
    with np.load(peers / "inputs_16012_u8.npz") as pixels:
        sources = [torch.from_numpy(pixels[name])[None, None] / 255 for name in ("ct_16012", "mri_16012")]
    with np.load(peers / "DILRAN_16012.npz") as arrays:
        recorded = {name: arrays[name] for name in arrays}
    features = [network.encode(each) for each in sources]
    for name, feature in zip("ab", features, strict=True):
        close(feature[0, :, 120:136, 120:136], recorded[f"feat_{name}_eval_16012_crop"])
        close(nuclear_norms([feature])[0, 0], recorded[f"nuc_{name}_eval_16012"])
    fused = build_rule("sfnn").apply(features).features
    close(fused[0, :, 120:136, 120:136], recorded["feat_fused_eval_16012_crop"])
    close(network.decode(fused)[0], recorded["fused_eval_16012"])
