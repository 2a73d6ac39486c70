"""The rules of SFNN's family and their nuclear norms against loops and full decompositions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fusekit.extend import RuleError, build_rule
from fusekit.testing import assert_no_findings, check_rule
from fusekit_ehdran.rules import nuclear
from fusekit_ehdran.rules.nuclear import greatest_nuclear_norms, nuclear_norm, nuclear_norms

SFNN = ("sfnn", "sfnn-mean", "sfnn-sum", "sfnn-channel")


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def naive_norms(features: Tensor) -> Tensor:
    """Return the nuclear norms of (B, C, H, W), in float64 and one matrix at a time."""
    shares = features.double().exp() / features.double().exp().sum(1, keepdim=True)
    return torch.tensor([[torch.linalg.matrix_norm(each, "nuc").item() for each in image] for image in shares])


ACTIVITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "sfnn": lambda norms: norms.max().square(),
    "sfnn-mean": lambda norms: norms.mean(),
    "sfnn-sum": lambda norms: norms.sum(),
}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", SFNN)
def test_the_sfnn_rules_against_a_loop(name: str, count: int) -> None:
    generator = torch.Generator().manual_seed(5)
    features = [scale * torch.randn(2, 4, 6, 7, generator=generator) for scale in (1.0, 3.0, 0.2)[:count]]
    fused, weights, _ = build_rule(name).apply(features)
    assert weights.shape == (count, 2, 4 if name == "sfnn-channel" else 1, 1, 1)
    torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]))
    norms = [naive_norms(each) for each in features]
    for image in range(2):
        for channel in range(4):
            if name == "sfnn-channel":
                activities = [each[image, channel] for each in norms]
            else:
                activities = [ACTIVITIES[name](each[image]) for each in norms]
            wanted = sum(
                activity / sum(activities) * feature[image, channel]
                for activity, feature in zip(activities, features, strict=True)
            )
            torch.testing.assert_close(fused[image, channel], wanted.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [*SFNN, "sfnn-local"])
def test_the_rules_keep_the_contract(name: str) -> None:
    assert_no_findings(check_rule(name))


@pytest.mark.parametrize("name", SFNN)
def test_features_in_half_precision_keep_their_type(name: str) -> None:
    features = [each.bfloat16() for each in images(2, 1, 4, 6, 6)]
    fused, weights, _ = build_rule(name).apply(features)
    assert fused.dtype == torch.bfloat16
    assert weights.dtype == torch.float32


def test_nuclear_norms_leave_the_number_of_threads_alone() -> None:
    before = torch.get_num_threads()
    nuclear_norms([torch.rand(1, 2, 4, 4)] * 2)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", SFNN)
def test_three_dimensional_features_are_refused(name: str) -> None:
    with pytest.raises(RuleError, match=r"two-dimensional features \(B, C, H, W\), not on shape \(1, 2, 4, 4, 4\)"):
        build_rule(name).apply([torch.ones(1, 2, 4, 4, 4)] * 2)


@pytest.mark.parametrize("size", [(6, 7), (16, 5), (1, 9), (40, 40), (97, 64)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_the_greatest_nuclear_norm_is_that_of_all_decompositions(size: tuple[int, int], scale: float) -> None:
    features = scale * torch.randn(3, 12, *size, generator=torch.Generator().manual_seed(6))
    found = torch.stack([each.norm for each in greatest_nuclear_norms([features])[0]])
    torch.testing.assert_close(found, naive_norms(features).amax(1).float(), atol=0, rtol=1e-5)


def test_channels_that_cannot_win_are_not_decomposed() -> None:
    features = torch.randn(2, 12, 16, 16, generator=torch.Generator().manual_seed(6))
    features[:, 3] += 8
    rule = build_rule("sfnn")
    report = rule.apply([features, features]).report
    assert [each["decomposed_channels"] for each in report] == [[[1], [1]], [[1], [1]]]
    found = torch.stack([each.norm for each in greatest_nuclear_norms([features])[0]])
    torch.testing.assert_close(found, naive_norms(features)[:, 3].float(), atol=0, rtol=1e-5)


def test_maps_that_are_not_kept_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(1, 12, 40, 30, generator=torch.Generator().manual_seed(7))
    wanted = nuclear_norms([features])
    monkeypatch.setattr(nuclear, "_KEPT_BYTES", 0)
    monkeypatch.setattr(nuclear, "_MAP_BYTES", 2 * 4 * 40 * 30)
    monkeypatch.setattr(nuclear, "_PIXELS", 100)
    assert torch.equal(nuclear_norms([features]), wanted)
    torch.testing.assert_close(greatest_nuclear_norms([features])[0][0].norm, wanted.max())


def test_equal_rows_and_columns_change_no_norm() -> None:
    matrix = torch.randn(20, 30, generator=torch.Generator().manual_seed(8))
    matrix[3:9] = matrix[3]
    matrix[:, 11:25] = matrix[:, 11:12]
    wanted = torch.linalg.svdvals(matrix.double()).sum()
    torch.testing.assert_close(nuclear_norm(matrix), wanted, atol=0, rtol=1e-7)
    torch.testing.assert_close(nuclear_norm(torch.ones(5, 7)), torch.tensor(35.0).double().sqrt())


@pytest.mark.parametrize("transposed", [False, True])
def test_a_subspace_that_misses_every_singular_vector_still_bounds(transposed: bool) -> None:
    """The rows come in pairs of a and −a, to which the first wave, a constant, is orthogonal."""
    matrix = torch.eye(8).repeat_interleave(2, 0) * torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    matrix = matrix.T if transposed else matrix
    bounds = torch.tensor([100.0], dtype=torch.float64)
    least, most = nuclear._tightened(matrix[None], matrix.square().sum().double()[None], bounds)
    assert least <= nuclear_norm(matrix) <= most < 1.01 * nuclear_norm(matrix)
