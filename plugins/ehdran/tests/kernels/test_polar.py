"""Nuclear norms by matrix products against singular values: spectra, ranks and sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fusekit.extend import OptionError, RuleError
from fusekit_ehdran.kernels.polar import nuclear_norms, operations, schedule


def random(*shape: int, seed: int = 31) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_values(values: Tensor, height: int, width: int) -> Tensor:
    """Return a matrix with these singular values and random singular vectors."""
    left, right = torch.linalg.qr(random(height, len(values)))[0], torch.linalg.qr(random(width, len(values)))[0]
    return ((left * values) @ right.T).float()


def exact(matrices: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrices.double()).sum(-1)


def softmax_maps(height: int, width: int, seed: int) -> Tensor:
    return random(1, 64, height, width, seed=seed).float().cumsum(-1)


@pytest.mark.parametrize("shape", [(5, 1, 1), (3, 1, 7), (3, 2, 2), (2, 90, 33), (2, 33, 90), (1, 128, 128)], ids=str)
def test_random_matrices(shape: tuple[int, ...]) -> None:
    for seed in range(4):
        matrices = random(*shape, seed=seed).float()
        torch.testing.assert_close(nuclear_norms(matrices).double(), exact(matrices), atol=0, rtol=1e-6)


@pytest.mark.parametrize("tail", [1e-2, 1e-4, 1e-6, 1e-8])
def test_one_great_value_and_a_long_tail(tail: float) -> None:
    values = torch.full((100,), tail, dtype=torch.float64)
    values[0] = 1
    matrix = with_values(values, 100, 120)
    torch.testing.assert_close(nuclear_norms(matrix[None]).double(), exact(matrix[None]), atol=0, rtol=1e-5)


def test_values_of_every_size() -> None:
    values = torch.logspace(0, -9, 100, dtype=torch.float64)
    matrix = with_values(values, 120, 100)[None]
    torch.testing.assert_close(nuclear_norms(matrix).double(), exact(matrix), atol=0, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 5])
def test_rank_deficient_matrices(rank: int) -> None:
    matrix = with_values(torch.ones(rank, dtype=torch.float64), 40, 60)
    torch.testing.assert_close(nuclear_norms(matrix[None]), torch.tensor([float(rank)]), atol=0, rtol=1e-5)
    assert nuclear_norms(torch.ones(1, 30, 20)).item() == pytest.approx(600**0.5, rel=1e-5)


def test_zero_small_and_great_matrices_side_by_side() -> None:
    matrix = random(6, 9).float()
    matrices = torch.stack([matrix * scale for scale in (0.0, 1e-38, 1e-20, 1.0, 1e30)])
    found, wanted = nuclear_norms(matrices), exact(matrices)
    assert found[0] == 0
    torch.testing.assert_close(found[1:].double(), wanted[1:], atol=0, rtol=1e-5)


def test_values_that_rounding_lifts_do_not_run_away() -> None:
    # Softmax maps have one great value, which sits at the end of the interval that the polynomials are made for.
    for seed in range(12):
        maps = softmax_maps(64, 50 + seed, seed).softmax(1)[0]
        torch.testing.assert_close(nuclear_norms(maps).double(), exact(maps), atol=0, rtol=1e-5)


def test_bfloat16_and_verified_norms() -> None:
    matrices = random(2, 20, 30).bfloat16()
    torch.testing.assert_close(nuclear_norms(matrices).double(), exact(matrices), atol=0, rtol=1e-5)
    torch.testing.assert_close(nuclear_norms(matrices, verify=True), nuclear_norms(matrices), atol=0, rtol=1e-6)


def test_verification_makes_up_for_a_coarse_tolerance() -> None:
    values = torch.full((60,), 2e-4, dtype=torch.float64)
    values[0] = 1
    matrix = with_values(values, 60, 60)[None]
    coarse = abs(nuclear_norms(matrix, tolerance=0.1) / exact(matrix) - 1).item()
    verified = abs(nuclear_norms(matrix, tolerance=0.1, verify=True) / exact(matrix) - 1).item()
    assert verified < coarse < 0.1


def test_no_matrices() -> None:
    assert nuclear_norms(torch.empty(0, 3, 4)).shape == (0,)


def test_the_schedule_lifts_every_value_to_one() -> None:
    values = torch.logspace(-7, 0, 2000, dtype=torch.float64)
    for a, b, c in schedule(1e-7):
        values = values * (a + values**2 * (b + values**2 * c))
        assert 0 < values.min() < values.max() < 2
    torch.testing.assert_close(values, torch.ones_like(values), atol=2e-7, rtol=0)


@pytest.mark.parametrize(("side", "most"), [(16, 13), (256, 15), (4096, 17)])
def test_number_of_steps(side: int, most: int) -> None:
    assert len(schedule(1e-5 / side)) <= most


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)], ids=str)
def test_operations_are_those_of_the_products(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def count(name: str, multiplied: Callable[..., Tensor], left: int) -> None:
        def product(*tensors: Tensor, **options: float) -> Tensor:
            (_, rows, inner), columns = tensors[left].shape, tensors[left + 1].shape[2]
            counted.append(2 * rows * inner * columns)
            return multiplied(*tensors, **options)

        monkeypatch.setattr(torch, name, product)

    count("bmm", torch.bmm, 0)
    count("baddbmm", torch.baddbmm, 1)
    nuclear_norms(random(1, *shape).float())
    assert sum(counted) == operations(*shape)


def test_the_programs_precision_of_products_is_left_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        nuclear_norms(random(1, 4, 4).float())
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_bad_input() -> None:
    with pytest.raises(RuleError, match=r"\(M, m, n\)"):
        nuclear_norms(torch.zeros(3, 3))
    with pytest.raises(OptionError, match="tolerance"):
        nuclear_norms(torch.zeros(1, 3, 3), tolerance=0)
