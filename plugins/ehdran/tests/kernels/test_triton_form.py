"""The models by kernels against the plain modules, and when kernels may not run; interpreted on the CPU."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fusekit
from fusekit.extend import DeviceError, EncoderDecoder
from fusekit_ehdran.fast.form import InferenceForm
from fusekit_ehdran.model import DILRAN, EHDRAN

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels.form import TritonForm


def made(network_class: type[EncoderDecoder] = EHDRAN, **arguments: Any) -> Any:
    torch.manual_seed(3)
    network: Any = network_class(**arguments)
    norm = network.encoder.norm
    norm.running_mean.normal_(0, 0.1)
    norm.running_var.uniform_(0.5, 1.5)
    return network.eval().use_form("fastest")


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("network_class", [EHDRAN, DILRAN])
@pytest.mark.parametrize(("channels", "shape"), [(16, (1, 1, 9, 12)), (64, (2, 1, 3, 5))], ids=str)
@torch.inference_mode()
def test_features_and_images_are_those_of_the_plain_modules(
    network_class: type[EncoderDecoder], channels: int, shape: tuple[int, ...]
) -> None:
    network = made(network_class, encoder_options={"channels": channels}).use_form("plain")
    sources = images(2, *shape)
    wanted_features = [network.encode(each) for each in sources]
    wanted = network.fuse(sources, "mean")
    features = network.use_form("fastest").use_backend("triton").encode_sources(sources)
    for found, expected in zip(features, wanted_features, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    # What a fusion does behind the encoder, which need not run again.
    fused = network.fuse_encoded(features, sources, [network.choose_rule("mean")]).image
    torch.testing.assert_close(fused, wanted, atol=2e-5, rtol=0)
    assert type(network._inference) is TritonForm


@torch.inference_mode()
def test_bfloat16_is_near_float32() -> None:
    network, sources = made(), images(2, 1, 1, 14, 11)
    wanted = network.fuse(sources, "mean")
    network.to(torch.bfloat16).use_backend("triton")
    found = network.fuse([each.bfloat16() for each in sources], "mean")
    assert found.dtype == torch.bfloat16
    error = (found.float() - wanted).square().mean() / wanted.abs().max().square()
    assert -10 * torch.log10(error) > 50


@pytest.mark.parametrize("arguments", [{"edge": "none"}, {"edge": "sobel"}, {"encoder_options": {"edge_gain": 0.5}}])
@torch.inference_mode()
def test_edge_operators(arguments: dict[str, Any]) -> None:
    network, (x,) = made(**arguments), images(1, 1, 1, 6, 7)
    wanted = network.use_form("plain").encode(x)
    torch.testing.assert_close(network.use_form("fastest").use_backend("triton").encode(x), wanted, atol=2e-5, rtol=0)


@functools.cache
def encoded(count: int, batch: int) -> tuple[Any, list[Tensor], dict[str, list[Tensor]]]:
    """Return a network, sources, and their features by both backends."""
    network, sources = made(encoder_options={"channels": 16}), images(count, batch, 1, 6, 9)
    sources[1] *= 0.3
    return network, sources, {each: network.use_backend(each).encode_sources(sources) for each in ("torch", "triton")}


@pytest.mark.parametrize(
    ("rule", "count", "batch"), [("sfnn", 3, 2), ("sfnn-mean", 2, 1), ("sfnn-sum", 2, 1), ("sfnn-channel", 2, 1)]
)
@torch.inference_mode()
def test_rules_of_sfnn_are_computed_by_kernels(rule: str, count: int, batch: int) -> None:
    network, sources, features = encoded(count, batch)
    chosen = [network.choose_rule(rule)]
    wanted, weights, report = network.use_backend("torch").fuse_encoded(features["torch"], sources, chosen)
    assert {each["norms"] for each in report} == {"exact"}
    found, by_kernels, report = network.use_backend("triton").fuse_encoded(features["triton"], sources, chosen)
    torch.testing.assert_close(by_kernels[0], weights[0], atol=0, rtol=5e-5)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)
    assert {each["norms"] for each in report} == {"by matrix products, within 1e-5"}
    if rule == "sfnn":
        counts = torch.tensor([each["decomposed_channels"] for each in report])
        assert counts.shape == (2, 3, 1)
        assert 1 <= counts.min() <= counts.max() <= 16


@torch.inference_mode()
def test_the_form_follows_weights_backend_and_copies() -> None:
    network, (x,) = made(encoder_options={"channels": 16}), images(1, 1, 1, 6, 4)
    network.use_backend("triton")
    before = network.encode(x)
    first = network._inference
    assert torch.equal(network.encode(x), before)
    assert network._inference is first
    network.encoder.shallow.bias.add_(0.5)
    changed = network.encode(x)
    assert network._inference is not first
    assert not torch.equal(changed, before)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert (other.backend, other._inference) == ("triton", None)
        assert torch.equal(other.encode(x), changed)
    torch.testing.assert_close(network.use_backend("torch").encode(x), changed, atol=2e-5, rtol=0)
    assert type(network._inference) is InferenceForm


def test_gradients_take_the_plain_modules() -> None:
    network, (x,) = made().use_backend("triton"), images(1, 1, 1, 4, 4)
    network.reconstruct(x).sum().backward()
    assert network.encoder.shallow.weight.grad is not None
    assert network._inference is None


def test_loading_with_kernels_and_the_record() -> None:
    model = fusekit.load("ehdran", backend="triton", device="cpu")
    pixels = [np.random.default_rng(seed).random((6, 8)).astype(np.float32) for seed in (1, 2)]
    fused = fusekit.fuse(pixels, model, rule="mean")
    assert (fused.record["backend"], fused.record["form"], fused.record["dtype"]) == ("triton", "composed", "float32")
    plain = fusekit.fuse(pixels, fusekit.load("ehdran", backend="torch", device="cpu"), rule="mean")
    assert plain.record["backend"] == "torch"
    np.testing.assert_allclose(fused.image, plain.image, atol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"form": "plain"}, "plain modules were asked for"),
        ({"dtype": "float16"}, "not in float16"),
        ({"encoder_options": {"channels": 8}}, "16, 32, 64 channels, and the encoder has 8"),
    ],
)
def test_what_kernels_cannot_run_raises(
    arguments: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "encoder_options" in arguments:
        with pytest.raises(DeviceError, match=reason):
            made(**arguments).use_backend("triton")
        return
    with pytest.raises(DeviceError, match=reason):
        fusekit.load("ehdran", backend="triton", device="cpu", **arguments)
    assert fusekit.load("ehdran", device="cpu", **arguments).backend == "torch"
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(DeviceError, match="needs a CUDA device"):
        fusekit.load("ehdran", backend="triton", device="cpu")
