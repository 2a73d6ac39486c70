"""The operations that networks carry out, the choices of the reference, and the trial of its best form."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers.paths import ROOT

import fusekit
from fusekit.models.parts import build_rule
from fusekit_bench.speed import rates, reference
from fusekit_bench.speed.race import Stopwatch
from fusekit_bench.speed.rates import count_operations, probes
from fusekit_bench.speed.reference import Choices, choose, published, published_rule

CPU = torch.device("cpu")
PAGE = ROOT / "docs" / "speed.md"
# Multiply-adds a pixel of the plain modules: an encoding, and the decoding.
ENCODE, DECODE = 431_296, 55_584


def test_trial_of_the_reference_chooses_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sources = fusekit.load("ehdran"), [torch.rand(1, 1, 16, 16)] * 2
    seconds = iter([1.0, 0.5, 2.0, 3.0, 0.2, 0.1, 0.2, 0.3])
    monkeypatch.setattr(Stopwatch, "time", lambda self, work: SimpleNamespace(seconds=next(seconds)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    kept: list[bool] = []
    monkeypatch.setattr(reference, "keep_freed_memory", lambda: not kept.append(True))  # type: ignore[func-returns-value]
    assert choose(network, network.choose_rule("sfnn"), sources) == Choices(True, 4, True)
    assert kept
    seconds = iter([1.0, 1.5, 1.0, 1.5])
    assert choose(network, network.choose_rule("mean"), sources) == Choices(False, 4, True)


def test_reference_sets_what_is_chosen_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    network, rule = fusekit.load("ehdran", device="cpu", form="plain"), build_rule("sfnn")
    sets: list[object] = []
    monkeypatch.setattr(reference, "keep_freed_memory", lambda: sets.append("allocator"))
    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", sets.append)
    published(network, Choices()).fuse([torch.rand(1, 1, 16, 16)] * 2, published_rule(rule, Choices()))
    assert sets == []
    tuned = Choices(channels_last=True, decomposition_threads=before + 1, keeps_freed_memory=True)
    published(network, tuned).fuse([torch.rand(1, 1, 16, 16)] * 2, published_rule(rule, tuned))
    assert sets == ["allocator", before + 1, before]


def test_operations_of_large_images_are_counted_on_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sources = fusekit.load("dilran", form="plain"), [torch.rand(2, 1, 32, 48)] * 2
    whole = count_operations(network, sources)
    monkeypatch.setattr(rates, "_PART", 16)
    assert count_operations(network, sources) == whole


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the tests")
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
    page = PAGE.read_text(encoding="utf-8")
    network = fusekit.load(model, dtype=dtype)
    sources = [torch.rand(1, 1, 128, 256).to(next(network.parameters()).dtype)] * 2
    # Weights are composed at the first call, by products that are counted there.
    count_operations(network, sources)
    both, weighing = (count_operations(network, sources, rule) for rule in (None, network.choose_rule("sfnn")))
    assert both == weighing
    network.decode = lambda features, sources: sources[0]  # type: ignore[assignment]
    alone = count_operations(network, sources)
    assert f"{encode:,}" in page
    assert 2 * encode <= alone / (2 * 128 * 256) < 1.25 * 2 * encode
    if decode is not None:
        assert f"{decode:,}" in page
        assert decode <= (both - alone) / (2 * 128 * 256) < 1.25 * decode


def test_attention_is_counted_in_all_its_forms() -> None:
    query, key = torch.rand(2, 3, 8, 5), torch.rand(2, 3, 11, 5)
    both = 2 * 2 * 2 * 3 * 8 * 11 * 5
    for mask in (None, torch.rand(8, 11), torch.rand(1, 3, 8, 11)):

        class Attention:
            def fuse(self, parts: list[torch.Tensor], *_: object) -> torch.Tensor:
                query, key, value = parts
                return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # noqa: B023

        assert count_operations(Attention(), [query, key, key]) == both  # type: ignore[arg-type]
