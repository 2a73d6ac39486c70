from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fusekit.errors import RuleError, UnknownNameError
from fusekit.models.contract import apply_rule
from fusekit.models.parts import build_rule
from fusekit.registry.discovery import load_plugins
from fusekit.rules.base import FusionRule, WeightedRule, normalized
from fusekit.testing import assert_no_findings, check_rule

RULES = load_plugins([]).fusion_rules.names()
SHAPES = ((2, 3, 5, 6), (1, 2, 3, 4, 5))

Fuse = Callable[[list[Tensor]], Any]


def features(count: int, shape: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(6)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def naive_l1(sources: list[Tensor]) -> Tensor:
    fused = torch.empty_like(sources[0])
    for image in range(len(fused)):
        norms = [source[image].abs().sum() for source in sources]
        fused[image] = sum(norm / sum(norms) * source[image] for norm, source in zip(norms, sources, strict=True))
    return fused


def naive_l1_local(sources: list[Tensor], radius: int = 1) -> Tensor:
    fused = torch.empty_like(sources[0])
    size = fused.shape[2:]
    for image in range(len(fused)):
        for place in torch.cartesian_prod(*(torch.arange(side) for side in size)).tolist():
            window = tuple(slice(max(at - radius, 0), at + radius + 1) for at in place)
            around: Any = (image, slice(None), *window)
            activity = [source[around].abs().sum(0).mean() for source in sources]
            here = (image, slice(None), *place)
            fused[here] = sum(a / sum(activity) * source[here] for a, source in zip(activity, sources, strict=True))
    return fused


NAIVE: dict[str, Fuse] = {
    "mean": lambda sources: sum(sources) / len(sources),
    "max": lambda sources: torch.stack(sources).amax(0),
    "min": lambda sources: torch.stack(sources).amin(0),
    "sum": sum,
    "l1": naive_l1,
    "l1-local": naive_l1_local,
    "energy": lambda sources: sum(each**3 for each in sources) / sum(each**2 for each in sources),
    "weighted": lambda sources: sum(sources) / len(sources),
}


def test_every_builtin_rule_has_a_formula_here() -> None:
    assert sorted(NAIVE) == RULES


@pytest.mark.parametrize("name", RULES)
def test_rules_keep_the_contract(name: str) -> None:
    assert_no_findings(check_rule(name))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", RULES)
def test_rules_against_their_formulas(name: str, count: int, shape: tuple[int, ...]) -> None:
    sources = features(count, shape)
    fused = build_rule(name).apply(sources).features
    torch.testing.assert_close(fused, NAIVE[name](sources), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_weights_make_the_fused_features(name: str) -> None:
    sources = features(3, (2, 3, 5, 6))
    rule = build_rule(name)
    fused, weights, _ = rule.apply(sources)
    if not isinstance(rule, WeightedRule):
        assert weights is None
        return
    assert weights.shape[:2] == (3, 2)
    assert weights.dim() == 5
    torch.testing.assert_close((weights * torch.stack(sources)).sum(0), fused)
    torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]))


@pytest.mark.parametrize("name", [name for name in RULES if name != "sum"])
def test_equal_sources_are_their_own_fusion(name: str) -> None:
    (source,) = features(1, (1, 2, 4, 4))
    torch.testing.assert_close(build_rule(name).apply([source, source, source]).features, source)


@pytest.mark.parametrize("name", RULES)
def test_zeros_give_zeros(name: str) -> None:
    fused, weights, _ = build_rule(name).apply([torch.zeros(1, 2, 4, 4)] * 2)
    assert torch.equal(fused, torch.zeros(1, 2, 4, 4))
    assert weights is None or weights.isfinite().all()


def test_energy_is_zero_where_all_are_zero_and_its_formula_elsewhere() -> None:
    first, second = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    first[0, 0, 0, 0], second[0, 0, 0, 0], first[0, 0, 1, 1] = 3.0, -1.0, 5.0
    fused, weights, _ = build_rule("energy").apply([first, second])
    torch.testing.assert_close(fused, torch.tensor([[[[26 / 10, 0.0], [0.0, 5.0]]]]))
    torch.testing.assert_close(weights[:, 0, 0, 0, 0], torch.tensor([0.9, 0.1]))
    assert torch.equal(weights[:, 0, 0, 0, 1], torch.zeros(2))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e30])
@pytest.mark.parametrize("name", ["energy", "l1", "l1-local"])
def test_the_weights_do_not_depend_on_the_scale(name: str, scale: float) -> None:
    sources = features(2, (1, 2, 4, 4))
    rule = build_rule(name)
    assert isinstance(rule, WeightedRule)
    found = rule.weights([each * scale for each in sources])
    torch.testing.assert_close(found, rule.weights(sources), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["l1", "l1-local"])
def test_the_norms_weights_are_equal_on_zeros(name: str) -> None:
    rule = build_rule(name)
    assert isinstance(rule, WeightedRule)
    weights = rule.weights([torch.zeros(1, 2, 4, 4)] * 3)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3))


def test_normalized_is_equal_where_all_are_zero() -> None:
    found = normalized(torch.tensor([[0.0, 3.0], [0.0, 1.0]]))
    assert torch.equal(found, torch.tensor([[0.5, 0.75], [0.5, 0.25]]))


@pytest.mark.parametrize("radius", [0, 2])
def test_l1_local_has_a_radius(radius: int) -> None:
    sources = features(2, (1, 3, 6, 5))
    found = build_rule("l1-local", {"radius": radius}).apply(sources).features
    torch.testing.assert_close(found, naive_l1_local(sources, radius))


@pytest.mark.parametrize("given", [[0.7, 0.3], ["0.7", "0.3"], (0.7, 0.3)])
def test_weighted_uses_its_weights_as_they_are(given: list[object]) -> None:
    first, second = features(2, (2, 2, 3, 3))
    rule = build_rule("weighted", {"weights": given})
    torch.testing.assert_close(rule.apply([first, second]).features, 0.7 * first + 0.3 * second)
    assert (rule.name, rule.options) == ("weighted", {"weights": given})


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("weighted", {"weights": [0.5, 0.5, 0.5]}, "was given 3 weights for 2 sources"),
        ("weighted", {"weights": 0.5}, "was given 1 weights for 2 sources"),
        ("weighted", {"weights": "much"}, "needs numbers, not 'much'"),
        ("weighted", {"weights": [0.5, None]}, "needs numbers"),
        ("weighted", {"weights": [0.5, float("nan")]}, "needs finite weights"),
        ("weighted", {"share": 1}, "'weighted' of fusekit-imaging does not take these options: .*share"),
        ("l1-local", {"radius": -1}, "needs a radius of 0 or more, not -1"),
        ("mean", {"radius": 1}, "'mean' of fusekit-imaging does not take these options"),
    ],
)
def test_options_that_do_not_fit_are_refused(rule: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        build_rule(rule, options).apply(features(2, (1, 2, 3, 3)))


def test_an_unknown_rule_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'l1-local'"):
        build_rule("l1-locl")


def test_rules_act_on_trees_leaf_by_leaf() -> None:
    fine, coarse = features(2, (1, 2, 4, 4)), features(2, (1, 3, 2, 2))
    trees = [{"fine": fine[i], "pyramid": [coarse[i], (fine[i],)]} for i in range(2)]
    fused, weights, _ = apply_rule(build_rule("l1"), trees)
    torch.testing.assert_close(fused["fine"], naive_l1(fine))
    torch.testing.assert_close(fused["pyramid"][0], naive_l1(coarse))
    torch.testing.assert_close(fused["pyramid"][1][0], naive_l1(fine))
    assert len(weights) == 3


def test_an_unfinished_rule_says_what_it_lacks() -> None:
    with pytest.raises(NotImplementedError, match=r"FusionRule must define apply\(features\)"):
        FusionRule().apply(features(2, (1, 1, 2, 2)))
    with pytest.raises(NotImplementedError, match=r"WeightedRule must define weights\(features\) or weigh\(features\)"):
        WeightedRule().apply(features(2, (1, 1, 2, 2)))


@pytest.mark.parametrize("name", ["energy", "mean", "sum"])
def test_features_that_lie_channels_last_stay_so_and_give_the_same(name: str) -> None:
    sources = features(3, (2, 4, 6, 5))
    last = [each.contiguous(memory_format=torch.channels_last) for each in sources]
    rule = build_rule(name)
    (fused, weights, _), wanted = rule.apply(last), rule.apply(sources)
    assert torch.equal(fused, wanted.features)
    assert fused.is_contiguous(memory_format=torch.channels_last)
    if weights is not None:
        assert torch.equal(weights, wanted.weights)
        assert all(each.is_contiguous(memory_format=torch.channels_last) for each in weights)
