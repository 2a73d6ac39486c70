"""SFNN's nuclear norms by bounds and matrix products, against singular values; no kernel is needed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fusekit_ehdran.kernels import norms as searched
from fusekit_ehdran.kernels.norms import (
    _tightened,
    all_nuclear_norms,
    greatest_nuclear_norms,
    share_statistics_twin,
)
from fusekit_ehdran.rules.nuclear import upper_bounds


def random(*shape: int, seed: int = 31) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(matrices: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrices.double()).sum(-1)


def softmax_maps(height: int, width: int, seed: int) -> Tensor:
    return random(1, 64, height, width, seed=seed).float().cumsum(-1)


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (33, 40), (80, 96)], ids=str)
@pytest.mark.parametrize("at_once", [1, 5, 64])
def test_greatest_norms(size: tuple[int, int], at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "_SUBSPACE", 12)
    features = torch.cat([softmax_maps(*size, seed) for seed in (1, 2, 3)])
    norms = exact(features.softmax(1))
    shares = share_statistics_twin(features)
    bounds = upper_bounds(shares.squares, shares.row_sums, shares.column_sums)
    assert (bounds >= norms * (1 - 1e-6)).all()
    found, decomposed = greatest_nuclear_norms(features, at_once=at_once)
    torch.testing.assert_close(found.double(), norms.amax(1), atol=0, rtol=1e-5)
    assert ((decomposed >= 1) & (decomposed <= 64)).all()


def test_a_channel_that_wins_by_far_is_decomposed_alone() -> None:
    features = 0.1 * random(2, 64, 24, 24).float()
    features[0, 7] += 9 * torch.eye(24)
    features[1, 60] += 9 * torch.eye(24)
    found, decomposed = greatest_nuclear_norms(features, at_once=1)
    assert decomposed.tolist() == [1, 1]
    torch.testing.assert_close(found.double(), exact(features.softmax(1)).amax(1), atol=0, rtol=1e-5)


def test_tightened_bounds_hold_and_are_tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "_SUBSPACE", 16)
    maps = torch.cat([softmax_maps(70, 90, seed).softmax(1)[0] for seed in (1, 2)])
    maps[0], maps[1] = 0, torch.outer(maps[2, :, 0], maps[2, 0])
    norms = exact(maps)
    least, most = _tightened(maps, maps.double().square().sum((1, 2)))
    assert (least <= norms).all()
    assert (most >= norms).all()
    assert (most < 1.3 * norms)[1:].all()
    assert (least > 0.8 * norms)[1:].all()
    # More columns leave less over.
    monkeypatch.setattr(searched, "_SUBSPACE", 34)
    tighter = _tightened(maps, maps.double().square().sum((1, 2)))[1]
    assert (tighter >= norms).all()
    assert (tighter < most)[2:].all()


def test_tightened_bounds_spare_decompositions(monkeypatch: pytest.MonkeyPatch) -> None:
    features = softmax_maps(80, 96, 5)
    monkeypatch.setattr(searched, "_SUBSPACE", 16)
    tightened = greatest_nuclear_norms(features)
    monkeypatch.setattr(searched, "_SUBSPACE", 1000)
    untightened = greatest_nuclear_norms(features)
    torch.testing.assert_close(tightened[0], untightened[0], atol=0, rtol=1e-6)
    assert tightened[1].item() < untightened[1].item()


def test_equal_channels() -> None:
    found, decomposed = greatest_nuclear_norms(torch.zeros(1, 16, 5, 5))
    assert found.item() == pytest.approx(5 / 16, rel=1e-5)
    assert decomposed.item() == 16


def test_all_norms_of_both_dtypes() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        features = softmax_maps(20, 31, 4).to(dtype)
        wanted = exact(features.float().softmax(1))
        torch.testing.assert_close(all_nuclear_norms(features).double(), wanted, atol=0, rtol=1e-5)
