"""The oracle of ``fusekit bench speed``."""

from __future__ import annotations

import pytest
import torch

import fusekit
from fusekit.models.parts import build_rule
from fusekit_bench import speed_oracle
from fusekit_bench.speed.rates import count_operations
from fusekit_bench.speed_oracle import Choices, published, published_rule

# Multiply-adds a pixel of the shared convolution.
SHARED = 36_864


@pytest.mark.parametrize("model", ["ehdran", "dilran"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_oracle_fuses_as_the_plain_modules_by_six_convolutions(model: str, channels_last: bool) -> None:
    sources = [torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    plain, oracle = fusekit.load(model, form="plain"), fusekit.load(model)
    published(oracle, Choices(channels_last, 1))
    rule = published_rule(oracle.choose_rule(None), Choices())
    with torch.inference_mode():
        assert torch.allclose(oracle.fuse(sources, rule), plain.fuse(sources), atol=2e-6)
    more = count_operations(oracle, sources) - count_operations(plain, sources)
    assert more == 3 * SHARED * 2 * len(sources) * 24 * 20
    assert oracle.decoder.convolutions[0].weight.is_contiguous(  # type: ignore[index]
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


@pytest.mark.parametrize("name", ["sfnn", "sfnn-mean", "sfnn-sum", "sfnn-channel"])
def test_published_rules_weigh_as_ours(name: str) -> None:
    features = [torch.randn(2, 6, 9, 11, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    ours = build_rule(name)
    theirs = published_rule(ours, Choices(False, 1))
    assert type(theirs) is not type(ours)
    before = torch.get_num_threads()
    weights = theirs.apply(features).weights
    expected = ours.apply(features).weights
    assert torch.allclose(weights, expected, rtol=1e-5)
    assert torch.get_num_threads() == before


def test_rules_of_others_stay() -> None:
    for rule in (None, build_rule("max"), build_rule("sfnn-local")):
        assert published_rule(rule, Choices()) is rule


def test_oracle_as_published_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sets: list[object] = []
    rule = published_rule(build_rule("sfnn"), Choices())
    monkeypatch.setattr(speed_oracle, "keep_freed_memory", lambda: sets.append("allocator"))
    monkeypatch.setattr(torch, "set_num_threads", sets.append)
    network = published(fusekit.load("ehdran", device="cpu", form="plain"), Choices())
    network.fuse([torch.rand(1, 1, 16, 16)] * 2, rule)
    assert sets == []
    published(network, Choices(keeps_freed_memory=True))
    network.fuse([torch.rand(1, 1, 16, 16)] * 2, published_rule(build_rule("sfnn"), Choices(False, 1)))
    assert sets[:2] == ["allocator", 1]
