"""The authors' order of operations: the same function as ours, by more work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import fusekit
from fusekit.extend import FusionModel, build_rule
from fusekit_ehdran.reference import published, published_rule

# Multiply-adds a pixel of the shared convolution.
SHARED = 36_864


def operations(network: FusionModel, sources: list[torch.Tensor]) -> int:
    # The counter of older versions sees nothing of inference mode.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.fuse(sources, build_rule("mean"))
    return counter.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ehdran", "dilran"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_reference_fuses_as_the_plain_modules_by_six_convolutions(model: str, channels_last: bool) -> None:
    sources = [torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    plain, reference = (fusekit.load(model, device="cpu", form="plain") for _ in range(2))
    published(reference, channels_last=channels_last)
    rule = published_rule(reference.choose_rule(None))
    with torch.inference_mode():
        assert torch.allclose(reference.fuse(sources, rule), plain.fuse(sources), atol=2e-6)
    more = operations(reference, sources) - operations(plain, sources)
    assert more == 2 * 3 * SHARED * len(sources) * 24 * 20
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert all(each.is_contiguous(memory_format=layout) for each in reference.parameters() if each.dim() == 4)


@pytest.mark.parametrize("name", ["sfnn", "sfnn-mean", "sfnn-sum", "sfnn-channel"])
def test_published_rules_weigh_as_ours(name: str) -> None:
    features = [torch.randn(2, 6, 9, 11, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    ours = build_rule(name)
    theirs = published_rule(ours)
    assert type(theirs) is not type(ours)
    assert torch.allclose(theirs.apply(features).weights, ours.apply(features).weights, rtol=1e-5)


def test_decompositions_run_in_the_context_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        events.append("enter")
        yield
        events.append("leave")

    svdvals = torch.linalg.svdvals

    def decompose(matrix: torch.Tensor) -> torch.Tensor:
        events.append("decompose")
        return svdvals(matrix)

    monkeypatch.setattr(torch.linalg, "svdvals", decompose)
    published_rule(build_rule("sfnn"), around).apply([torch.rand(1, 2, 5, 5)] * 2)
    assert events == ["enter", *["decompose"] * 4, "leave"]


def test_rules_of_others_stay() -> None:
    for rule in (None, build_rule("max"), build_rule("sfnn-local")):
        assert published_rule(rule) is rule


def test_reference_as_published_leaves_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    sets: list[int] = []
    network, rule = fusekit.load("ehdran", device="cpu", form="plain"), published_rule(build_rule("sfnn"))
    monkeypatch.setattr(torch, "set_num_threads", sets.append)
    published(network).fuse([torch.rand(1, 1, 16, 16)] * 2, rule)
    assert sets == []
