from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import RuleError, build_rule
from fusekit_ehdran.rules import local_statistics as sfnn_local
from fusekit_ehdran.rules.local_statistics import detail_norms, keep_edges, smoothed
from fusekit_ehdran.rules.sfnn_local import SFNNLocal


def features(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def encoded(*images: Tensor) -> list[Tensor]:
    """Return features of images (H, W) as of a linear encoder with an offset: (1, 8, H, W)."""
    direction = torch.linspace(-1, 2, 8).view(1, 8, 1, 1)
    return [0.3 - 0.05 * direction + direction * image for image in images]


def decoded(feature: Tensor) -> Tensor:
    (unit,) = encoded(torch.ones(1, 1))
    (zero,) = encoded(torch.zeros(1, 1))
    direction = unit - zero
    return ((feature - zero) * direction).sum(1)[0] / direction.square().sum()


def disc(radius: float, size: int = 96, value: float = 1.0) -> Tensor:
    along = torch.arange(size) - (size - 1) / 2
    return value * ((along[:, None].square() + along.square()).sqrt() < radius).float()


@pytest.mark.parametrize("spacing", [1, 2, 4])
def test_closed_form_is_the_sum_of_singular_values(spacing: int) -> None:
    (maps,) = features(1, 2, 3, 9, 7)
    padded = F.pad(maps, (spacing,) * 4, mode="replicate")
    found: Tensor = detail_norms(maps, spacing)
    height, width = found.shape[2:]
    assert found.shape == (2, 3, 9 + spacing, 7 + spacing)
    for y in range(height):
        for x in range(width):
            window = padded[..., y : y + spacing + 1 : spacing, x : x + spacing + 1 : spacing]
            expected = torch.linalg.svdvals(window - window.mean((2, 3), keepdim=True)).sum(-1)
            torch.testing.assert_close(found[..., y, x], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_sources_may_come_in_any_order(count: int) -> None:
    sources = features(count, 2, 5, 23, 18)
    order = list(range(count))[::-1]
    fused, weights, _ = build_rule("sfnn-local").apply(sources)
    turned, turned_weights, _ = build_rule("sfnn-local").apply([sources[i] for i in order])
    torch.testing.assert_close(turned, fused, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned_weights, weights[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [2, 4])
def test_equal_sources_give_themselves(count: int) -> None:
    (one,) = features(1, 1, 6, 20, 21)
    torch.testing.assert_close(build_rule("sfnn-local").apply([one] * count).features, one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (5, 3), (33, 50)])
def test_any_size(size: tuple[int, int]) -> None:
    sources = features(3, 2, 4, *size)
    copies = [each.clone() for each in sources]
    fused, weights, _ = build_rule("sfnn-local").apply(sources)
    assert fused.shape == (2, 4, *size)
    assert weights.shape == (3, 2, 2, *size)
    assert fused.isfinite().all()
    assert weights.isfinite().all()
    assert 0 <= weights.min() <= weights.max() <= 1 + 1e-6
    assert all(torch.equal(each, copy) for each, copy in zip(sources, copies, strict=True))


def test_a_batch_equals_its_images_one_by_one() -> None:
    sources = features(2, 3, 5, 26, 19)
    sources[0][1] *= 5
    rule = build_rule("sfnn-local")
    alone = [rule.apply([source[i : i + 1] for source in sources]).features for i in range(3)]
    torch.testing.assert_close(rule.apply(sources).features, torch.cat(alone), atol=1e-5, rtol=0)


def test_an_empty_source_leaves_the_other_as_it_is() -> None:
    image = disc(30, value=0.5) + disc(12, value=0.3) + 0.05 * torch.sin(torch.arange(96.0)) * disc(30)
    full, empty = encoded(image, torch.zeros(96, 96))
    fused = build_rule("sfnn-local").apply([empty, full]).features
    torch.testing.assert_close(decoded(fused), image, atol=2e-3, rtol=0)


def test_bone_stays_white_and_tissue_keeps_its_texture() -> None:
    bone = disc(42) - disc(32)
    texture = 0.1 * torch.sin(torch.arange(96.0) * 1.5).expand(96, 96)
    tissue = (0.5 + texture) * disc(31)
    result = decoded(build_rule("sfnn-local").apply(encoded(bone, tissue)).features)
    middle = (disc(39) - disc(35)).bool()
    assert result[middle].min() > 0.93
    inside = disc(20).bool()
    kept = torch.corrcoef(torch.stack([result[inside], tissue[inside]]))[0, 1]
    assert kept > 0.99
    assert 0.9 < result[inside].std() / tissue[inside].std() < 1.1
    # No halo: neither a bright nor a dark rim in the empty air around the bone.
    assert result[~disc(45).bool()].abs().max() < 0.02
    l1_local = decoded(build_rule("l1-local").apply(encoded(bone, tissue)).features)
    assert l1_local[inside].mean() < result[inside].mean()


def test_the_base_is_nowhere_weaker_than_a_source() -> None:
    sources = features(3, 1, 6, 40, 40)
    bases = [keep_edges(each) for each in sources]
    details = [each - base for each, base in zip(sources, bases, strict=True)]
    strength = torch.stack([base.norm(dim=1, keepdim=True) for base in bases])
    weights = SFNNLocal().base_weights(bases, details)
    assert ((weights * strength).sum(0) >= strength.amax(0) - 1e-5).all()


def test_detail_weights_add_up_to_one() -> None:
    weights = SFNNLocal().detail_weights(features(3, 2, 5, 31, 22))
    torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]), atol=1e-5, rtol=0)


def test_rounding_does_not_decide_between_equals() -> None:
    """Where activities are nearly equal, features that round otherwise give nearly the same shares of the detail."""
    first = features(1, 1, 6, 40, 40)[0]
    second, noise = first.flip(1), 1 + 1e-4 * torch.randn(first.shape, generator=torch.Generator().manual_seed(4))
    soft, hard = (
        float((rule.detail_weights([first * noise, second]) - rule.detail_weights([first, second])).abs().max())
        for rule in (SFNNLocal(), SFNNLocal(sharpness=1e6))
    )
    assert soft < 0.01
    assert hard > 0.2


def test_balance_lifts_a_faint_source() -> None:
    strong, faint = features(2, 1, 5, 64, 64)
    faint = 0.2 * faint
    share = [SFNNLocal(balance=b).detail_weights([strong, faint])[1].mean() for b in (0, 0.5, 1)]
    assert share[0] <= share[1] < share[2]
    assert share[0] < 0.01
    assert share[2] > 0.2


def test_smoothing_keeps_constants_and_splits_nothing_off_them() -> None:
    constant = torch.full((1, 3, 11, 13), 0.7)
    torch.testing.assert_close(smoothed(constant, 3.0), constant)
    torch.testing.assert_close(keep_edges(constant), constant)
    assert sfnn_local.local_activity(constant).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"power": 0.5}, "power of 1 or more, not 0.5"),
        ({"power": float("nan")}, "power of 1 or more, not nan"),
        ({"balance": 2}, "balance from 0 to 1, not 2"),
        ({"sharpness": 0.5}, "sharpness of 1 or more, not 0.5"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        build_rule("sfnn-local", options)


def test_volumes_are_refused() -> None:
    with pytest.raises(RuleError, match="two-dimensional"):
        build_rule("sfnn-local").apply([torch.rand(1, 2, 3, 4, 5)] * 2)


def test_half_precision_features_keep_their_type() -> None:
    sources = features(2, 1, 4, 12, 12)
    fused = build_rule("sfnn-local").apply([each.bfloat16() for each in sources]).features
    assert fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused.float(), build_rule("sfnn-local").apply(sources).features, atol=0.1, rtol=0.05)
