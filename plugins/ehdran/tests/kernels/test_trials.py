"""The kernels on trial: each is run and told when it is wrong, and then torch computes; interpreted on the CPU."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fusekit
from fusekit.extend import FusekitWarning
from fusekit.machine import backends, probation
from fusekit.models import trials as sampling
from fusekit_ehdran.model import DILRAN, EHDRAN

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels import attention, decode, edges, multiscale, norms, settings, trials
from fusekit_ehdran.kernels.trials import NORM_TOLERANCE, TOLERANCES, Variant, variant_of

SMALL = Variant(channels=16)
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probation, "_known", {})
    monkeypatch.setattr(backends, "_said", set())
    monkeypatch.setattr(sampling, "_INTERPRETED", (4, 6))
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path))


def sample(dtype: torch.dtype = torch.float32) -> Tensor:
    return sampling.sample_pair("minmax", (4, 6)).to(dtype)


def key(name: str) -> dict[str, str]:
    return probation.key_of(torch.device("cpu"), name=name)


def prove(variant: Variant, dtype: torch.dtype = torch.float32) -> probation.Verdict:
    chosen = trials.trials(variant)
    return probation.prove(key(f"{variant}{dtype}"), chosen, lambda: sample(dtype), torch.device("cpu"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_kernel_is_tried_and_passes(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, names = set(), {id(entries): name for name, entries in settings.TABLE.items()}
    before, lookup = torch.random.get_rng_state(), settings.lookup

    def noting(entries: Any, *arguments: Any) -> settings.Setting:
        ran.add(names[id(entries)])
        return lookup(entries, *arguments)

    monkeypatch.setattr(settings, "lookup", noting)
    verdict = prove(SMALL, dtype)
    assert verdict.reason is None
    assert ran == set(settings.TABLE)
    assert {each.tolerance for each in verdict.families.values()} <= {*TOLERANCES.values(), NORM_TOLERANCE}
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("module", "launcher", "family"),
    [
        (multiscale, "multiscale", "multiscale 1·3·5"),
        (attention, "convolve_and_add", "attention"),
        (attention, "convolve_and_attend", "attention"),
        (edges, "add_edges", "edges"),
        (decode, "convolve", "decode"),
        (decode, "convolve_to_taps", "decode"),
        (decode, "sum_taps", "decode"),
        (trials, "share_statistics", "softmax statistics"),
        (norms, "all_nuclear_norms", "norms"),
        (norms, "greatest_nuclear_norms", "norms"),
    ],
)
def test_a_launch_that_is_a_little_wrong_fails(
    module: ModuleType, launcher: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(module, launcher)

    def wrong(*arguments: Any) -> Any:
        found = right(*arguments)
        if isinstance(found, Tensor):
            return found * (1 + 1e-3)
        # Statistics and norms: the first of several tensors.
        return (
            type(found)(*[found[0] * (1 + 1e-3), *found[1:]])
            if hasattr(found, "_fields")
            else (found[0] * 2, *found[1:])
        )

    monkeypatch.setattr(module, launcher, wrong)
    chosen = {name: trial for name, trial in trials.trials(SMALL).items() if name.startswith(family)}
    verdict = probation.prove(key("wrong"), chosen, sample, torch.device("cpu"))
    assert f"{family} of 16 channels differs by" in verdict.reason


def test_the_variant_is_what_the_form_runs() -> None:
    def found(network_class: type[EHDRAN | DILRAN], **arguments: Any) -> Variant:
        network: Any = network_class(**arguments)
        return variant_of(network.encoder, network.decoder)

    assert found(EHDRAN) == Variant()
    assert found(DILRAN) == Variant(edges=False, negative_slope=1.0)
    assert found(EHDRAN, edge="sobel") == found(EHDRAN, encoder_options={"edge_gain": 0}) == Variant(edges=False)
    options = {"channels": 32, "dilations": [1, 2]}
    assert found(EHDRAN, encoder_options=options) == Variant(32, (1, 2))
    assert list(trials.trials(Variant(32, (1, 2), edges=False)))[:2] == [
        "multiscale 1·2 of 32 channels",
        "attention of 32 channels",
    ]
    encoder, decoder = trials.random_parts(torch.device("cpu"), Variant(32, (1, 2), False, 1.0))
    assert variant_of(encoder, decoder) == Variant(32, (1, 2), False, 1.0)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> EHDRAN:
    """A small network on the CPU, where ``auto`` would take kernels, as it does on a GPU."""
    monkeypatch.setattr(backends, "prefers_kernels", lambda device: True)
    torch.manual_seed(3)
    return EHDRAN(encoder_options={"channels": 16}).eval().use_form("fastest")


def pixels() -> list[np.ndarray]:
    return [np.random.default_rng(seed).random((5, 6)).astype(np.float32) for seed in (1, 2)]


def test_auto_takes_kernels_that_have_proved_themselves(network: EHDRAN) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        fused = fusekit.fuse(pixels(), network, rule="mean")
        again = fusekit.fuse(pixels(), copy.deepcopy(network), rule="mean")
    record = fused.record
    assert (record["backend"], record["backend_fallback"]) == ("triton", None)
    assert record["backend_verdict"]["verified"]
    assert list(record["backend_verdict"]["families"]) == list(trials.trials(SMALL))
    assert again.record["backend_verdict"] == record["backend_verdict"]
    np.testing.assert_allclose(
        fused.image, fusekit.fuse(pixels(), network.use_backend("torch"), rule="mean").image, atol=2e-5
    )


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda right: lambda *inputs: 1.5 * right(*inputs), "decode of 16 channels differs by"),
        (lambda right: lambda *inputs: right(*inputs) / 0, "decode of 16 channels did not pass"),
        (lambda right: lambda: None, "decode of 16 channels TypeError"),
    ],
    ids=["wrong", "nan", "exception"],
)
def test_auto_leaves_a_broken_kernel_to_torch(
    broken: Callable[[Any], Any], reason: str, network: EHDRAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = fusekit.fuse(pixels(), network.use_backend("torch"), rule="mean").image
    monkeypatch.setattr(decode, "sum_taps", broken(decode.sum_taps))
    network.asked_backend = "auto"
    with pytest.warns(FusekitWarning, match=f"torch computes 'ehdran' on cpu, .*: {reason}"):
        fused = fusekit.fuse(pixels(), network, rule="mean")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        assert fusekit.fuse(pixels(), network, rule="mean").record["backend"] == "torch"
    record = fused.record
    assert record["backend"] == "torch"
    assert reason in record["backend_fallback"]
    passed = {name: each["passed"] for name, each in record["backend_verdict"]["families"].items()}
    assert [name for name in passed if not passed[name]] == ["decode of 16 channels"]
    assert np.array_equal(fused.image, wanted)
