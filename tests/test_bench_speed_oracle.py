"""The oracle of ``fusekit bench speed``, and the operations that networks carry out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import fusekit
from fusekit.models.parts import build_rule
from fusekit_bench import speed_oracle, speed_rates
from fusekit_bench.speed_oracle import Choices, choose, published, published_rule
from fusekit_bench.speed_race import Stopwatch
from fusekit_bench.speed_rates import count_operations, probes

CPU = torch.device("cpu")
# Multiply-adds a pixel of the plain modules: an encoding, the decoding, and the shared convolution.
ENCODE, DECODE, SHARED = 431_296, 55_584, 36_864


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
    assert oracle.decoder.convolutions[0].weight.is_contiguous(  # type: ignore[union-attr, operator, index]
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


@pytest.mark.parametrize("name", ["sfnn", "sfnn-mean", "sfnn-sum", "sfnn-channel"])
def test_published_rules_weigh_as_ours(name: str) -> None:
    features = [torch.randn(2, 6, 9, 11, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    ours = build_rule(name)
    theirs = published_rule(ours, Choices(False, 1))
    assert type(theirs) is not type(ours)
    before = torch.get_num_threads()
    weights = theirs.apply(features).weights  # type: ignore[union-attr]
    expected = ours.apply(features).weights
    assert torch.allclose(weights, expected, rtol=1e-5)  # type: ignore[arg-type]
    assert torch.get_num_threads() == before


def test_rules_of_others_stay() -> None:
    for rule in (None, build_rule("max"), build_rule("sfnn-local")):
        assert published_rule(rule, Choices()) is rule


def test_trial_of_the_oracle_chooses_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sources = fusekit.load("ehdran"), [torch.rand(1, 1, 16, 16)] * 2
    seconds = iter([1.0, 0.5, 2.0, 3.0, 0.2, 0.1, 0.2, 0.3])
    monkeypatch.setattr(Stopwatch, "time", lambda self, work: SimpleNamespace(seconds=next(seconds)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    kept: list[bool] = []
    monkeypatch.setattr(speed_oracle, "keep_freed_memory", lambda: kept.append(True) or True)
    assert choose(network, network.choose_rule("sfnn"), sources) == Choices(True, 4, True)
    assert kept
    seconds = iter([1.0, 1.5, 1.0, 1.5])
    assert choose(network, network.choose_rule("mean"), sources) == Choices(False, 4, True)


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


def test_operations_of_large_images_are_counted_on_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sources = fusekit.load("dilran", form="plain"), [torch.rand(2, 1, 32, 48)] * 2
    whole = count_operations(network, sources)
    monkeypatch.setattr(speed_rates, "_PART", 16)
    assert count_operations(network, sources) == whole


def test_background_is_not_counted_where_it_is_copied() -> None:
    network, image = fusekit.load("ehdran", device="cpu"), torch.zeros(1, 1, 192, 192)
    image[..., 80:110, 80:110] = torch.rand(30, 30)
    of_noise, of_image = (
        count_operations(network, [each] * 2, network.choose_rule("sfnn")) for each in (torch.rand_like(image), image)
    )
    assert of_image < of_noise


def test_operations_of_the_networks() -> None:
    sources, pixels = [torch.rand(1, 1, 32, 32)] * 2, 32 * 32
    plain = count_operations(fusekit.load("ehdran", form="plain"), sources)
    assert plain == 2 * pixels * (2 * ENCODE + DECODE)
    assert count_operations(fusekit.load("ehdran"), sources) < plain / 2
    for probe in probes(CPU, torch.float32):
        probe.work()
        assert probe.operations == {"convolution": 2 * 9 * 64 * 64 * 256**2, "product": 2 * 1024**3}[probe.name]


@pytest.mark.parametrize(
    ("model", "dtype", "encode", "decode"),
    [
        ("ehdran", "float32", 119_728, 27_936),
        ("ehdran", "bfloat16", 119_728, 27_936),
        ("dilran", "float32", 60_720, None),
        ("dilran", "bfloat16", 60_720, None),
    ],
)
def test_counts_of_the_page(model: str, dtype: str, encode: int, decode: int | None) -> None:
    """What runs are these counts, and the margins of tiles."""
    page = (Path(__file__).parents[1] / "docs" / "speed.md").read_text(encoding="utf-8")
    network = fusekit.load(model, dtype=dtype)
    sources = [torch.rand(1, 1, 128, 256).to(next(network.parameters()).dtype)] * 2
    # Weights are composed at the first call, by products that are counted there.
    count_operations(network, sources)
    both, weighing = (count_operations(network, sources, rule) for rule in (None, network.choose_rule("sfnn")))
    assert both == weighing
    network.decode = lambda features, sources: sources[0]  # type: ignore[assignment, method-assign]
    alone = count_operations(network, sources)
    assert f"{encode:,}" in page
    assert 2 * encode <= alone / (2 * 128 * 256) < 1.25 * 2 * encode
    if decode is not None:
        assert f"{decode:,}" in page
        assert decode <= (both - alone) / (2 * 128 * 256) < 1.25 * decode
