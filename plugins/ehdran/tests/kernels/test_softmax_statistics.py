"""The kernel of SFNN's statistics against its torch twin, interpreted on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels import softmax_statistics
from fusekit_ehdran.kernels.norms import greatest_nuclear_norms, share_statistics_twin, shares_of
from fusekit_ehdran.kernels.settings import Setting, forced
from fusekit_ehdran.kernels.softmax_statistics import share_statistics


def features(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    values = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(21))
    return values.to(dtype, memory_format=torch.channels_last)


def check(source: Tensor) -> None:
    for found, wanted in zip(share_statistics(source), share_statistics_twin(source), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 64, 2, 2), (2, 64, 3, 5), (1, 64, 9, 37), (2, 16, 17, 8)], ids=str)
def test_statistics(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    check(features(shape, dtype))


@pytest.mark.parametrize("programs", [1, 5, 1000])
def test_bands_cut_into_any_segments(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_statistics, "_PROGRAMS", programs)
    check(features((1, 64, 9, 37), torch.float32))


def test_any_tile() -> None:
    with forced("shares", Setting(2, 16, warps=4, stages=2)):
        check(features((1, 64, 5, 21), torch.float32))


def test_great_values_do_not_overflow() -> None:
    check(100 * features((1, 64, 3, 5), torch.float32))


def test_what_the_statistics_are_for() -> None:
    source = features((2, 64, 12, 10), torch.float32).cumsum(-1)
    softmax, norms = source.softmax(1), torch.linalg.svdvals(source.softmax(1)).sum(-1)
    images, channels = torch.tensor([0, 1, 1]), torch.tensor([5, 63, 0])
    found = shares_of(source, share_statistics(source).log_sums, images, channels)
    torch.testing.assert_close(found, softmax[images, channels], atol=1e-6, rtol=2e-5)
    torch.testing.assert_close(greatest_nuclear_norms(source, share_statistics)[0], norms.amax(1), atol=0, rtol=1e-5)
