"""The inference form against the plain modules: shapes, options, dtypes, tiles, and what users do to a model."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import fusekit_ehdran.fast.tiles
from fusekit.extend import EncoderDecoder
from fusekit_ehdran.fast.background import split_background
from fusekit_ehdran.fast.tiles import tiles
from fusekit_ehdran.model import DILRAN, EHDRAN

SIZES = [(2, 2), (3, 9), (7, 5), (33, 50), (64, 31)]


def made(network_class: type[EncoderDecoder] = EHDRAN, **arguments: Any) -> Any:
    torch.manual_seed(3)
    network: Any = network_class(**arguments)
    norm = network.encoder.norm
    norm.running_mean.normal_(0, 0.1)
    norm.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
    return network.eval()


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def check(network: EncoderDecoder, sources: list[Tensor], tolerance: float = 2e-5) -> None:
    """Compare features, decoded and fused images of both forms."""
    with torch.inference_mode():
        rule = network.choose_rule("sfnn")
        wanted_features = [network.use_form("plain").encode(source) for source in sources]
        # What a fusion does behind the encoder, which need not run again.
        wanted, wanted_weights, _ = network.fuse_encoded(wanted_features, sources, [rule])
        assert network.form == "plain"
        features = network.use_form("fastest").encode_sources(sources)
        assert network.form == "composed"
        found, weights, _ = network.fuse_encoded(features, sources, [rule])
        for mine, theirs in zip(features, wanted_features, strict=True):
            torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=0)
        torch.testing.assert_close(network.encode(sources[0]), wanted_features[0], atol=tolerance, rtol=0)
        torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)
        torch.testing.assert_close(weights[0], wanted_weights[0], atol=tolerance, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("network_class", [EHDRAN, DILRAN])
@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_batch(network_class: type[EncoderDecoder], size: tuple[int, int]) -> None:
    network = made(network_class)
    check(network, images(2, 1, 1, *size))
    check(network, images(3, 2, 1, *size))


@pytest.mark.slow
@pytest.mark.parametrize("network_class", [EHDRAN, DILRAN])
@pytest.mark.parametrize("pixels", [64, 500, 1300])
def test_tiles_make_no_difference(
    network_class: type[EncoderDecoder], pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusekit_ehdran.fast.tiles, "TILE_BYTES", 4 * pixels)
    check(made(network_class), images(2, 2, 1, 37, 51))


@pytest.mark.parametrize("edge", ["none", "sobel", "prewitt", "scharr", "laplacian", "drgo"])
@pytest.mark.parametrize("network_class", [EHDRAN, DILRAN])
def test_every_edge_operator(network_class: type[EncoderDecoder], edge: str) -> None:
    check(made(network_class, edge=edge), images(2, 1, 1, 14, 11))


@pytest.mark.parametrize(
    "options",
    [{"channels": 8}, {"dilations": [2]}, {"dilations": [1, 2, 3, 7]}, {"edge_gain": 0.25}, {"edge_gain": 0.0}],
    ids=str,
)
def test_every_encoder_option(options: dict[str, object]) -> None:
    check(made(encoder_options=options), images(2, 1, 1, 19, 22))


def test_float64() -> None:
    check(made().double(), [each.double() for each in images(2, 1, 1, 12, 13)], tolerance=1e-10)


@torch.inference_mode()
def test_bfloat16_is_near_float32() -> None:
    network, sources = made().use_form("fastest"), images(2, 1, 1, 64, 48)
    wanted = network.fuse(sources, "mean")
    found = network.to(torch.bfloat16).fuse([each.bfloat16() for each in sources], "mean")
    assert found.dtype == torch.bfloat16
    error = (found.float() - wanted).square().mean() / wanted.abs().max().square()
    assert -10 * torch.log10(error) > 50


@torch.inference_mode()
def test_the_form_follows_changes_of_the_weights() -> None:
    network, sources = made().use_form("fastest"), images(2, 1, 1, 12, 10)
    before = network.fuse(sources)
    network.encoder.multiscale.reduce.bias.add_(0.1)
    check(network, sources)
    assert not torch.equal(network.fuse(sources), before)
    network.load_state_dict(made(encoder_options={"dilations": [1, 3, 5]}).state_dict())
    assert torch.equal(network.fuse(sources), before)
    network.encoder.edge_gain = 0.5
    check(network, sources)
    network.decoder.negative_slope = 1.0
    check(network, sources)
    network.to(torch.bfloat16).to(torch.float32)
    check(network, sources)


def test_copies_and_pickles_compose_their_own() -> None:
    network, sources = made().use_form("fastest"), images(2, 1, 1, 12, 10)
    with torch.inference_mode():
        wanted = network.fuse(sources)
        others = [copy.deepcopy(network), pickle.loads(pickle.dumps(network))]
        for other in others:
            assert other._inference is None
            assert torch.equal(other.use_form("fastest").fuse(sources), wanted)
        others[0].encoder.shallow.bias.add_(1.0)
        assert torch.equal(network.fuse(sources), wanted)
        assert network.state_dict().keys() == EHDRAN().state_dict().keys()


def test_training_and_gradients_take_the_plain_modules() -> None:
    network, (image, _) = made().use_form("fastest"), images(2, 1, 1, 12, 10)
    network.reconstruct(image).sum().backward()
    assert network.encoder.shallow.weight.grad is not None
    assert network._inference is None
    assert network.train().form == "plain"
    with torch.inference_mode():
        network.eval().reconstruct(image)
    assert network._inference is not None


@pytest.mark.parametrize("size", [(5, 7), (64, 64), (37, 301), (4, 1000), (1000, 4)])
def test_tiles_cover_an_image_once(size: tuple[int, int]) -> None:
    covered = torch.zeros(size)
    for tile in tiles(*size, pixels=256):
        assert tile.top % 4 == 0
        assert tile.left % 4 == 0
        tile.cut(covered).add_(1)
    assert bool((covered == 1).all())


def scan(height: int, width: int, level: float, noise: float = 0.0) -> Tensor:
    """Return an image (1, 1, H, W) of one level around a bright part a third as high and wide."""
    image = torch.full((1, 1, height, width), level)
    part = image[..., height // 3 : 2 * height // 3, width // 4 : width // 2]
    part += torch.rand(part.shape, generator=torch.Generator().manual_seed(5))
    return image + noise * torch.rand(image.shape, generator=torch.Generator().manual_seed(6))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(95, 90), (60, 73), (100, 33), (40, 21)])
@pytest.mark.parametrize("network_class", [EHDRAN, DILRAN])
def test_background_makes_no_difference(
    network_class: type[EncoderDecoder], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusekit_ehdran.fast.tiles, "TILE_BYTES", 4 * 500)
    sources = [scan(*size, 0.0), scan(*size, 0.3)]
    check(made(network_class), sources)
    check(made(network_class), [torch.cat([sources[0], scan(*size, 0.1, noise=0.1)])] * 2)
    check(made(network_class), [torch.full((1, 1, *size), 0.4)] * 2)


def test_background_is_found_as_far_as_features_see() -> None:
    image = torch.zeros(80, 100)
    image[40, 50] = 1
    split = split_background(image, 9, 500)
    assert split is not None
    covered = torch.zeros(80, 100)
    for tile in (*split.computed, *split.constant):
        tile.cut(covered).add_(1)
    assert bool((covered == 1).all())
    for tile in split.constant:
        tile.cut(covered).zero_()
    rows, columns = covered.nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max())) == (24, 55)
    assert (int(columns.min()), int(columns.max())) == (40, 63)
    assert split_background(torch.rand(80, 100), 9, 500) is None
