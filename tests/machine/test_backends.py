"""The choice of a backend: what is refused, with which reason, and what the record and the doctor say of it."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import run_cli

import fusekit
from fusekit.cli.doctor import diagnose
from fusekit.errors import DeviceError, FusekitWarning, OptionError
from fusekit.machine import backends as backend
from fusekit.machine import probation
from fusekit.machine.probation import KernelTrial
from fusekit.models import trials
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine

MISSING_TRITON = backend.missing_triton
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Network(FusionModel):
    """A model with or without kernels whose one parameter claims to be anywhere."""

    spec = fusekit.ModelSpec(id="net", factory="x:X", summary="none", default_rule="max")

    def __init__(self, device: torch.device, dtype: torch.dtype, refusal: str | None) -> None:
        super().__init__()
        self.trials: dict[str, KernelTrial] = {"products": lambda x: (x, x, 0.0)}
        self.place, self.refusal = type("Place", (), {"device": device, "dtype": dtype})(), refusal

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        yield self.place

    def kernels_refusal(self, backend: str) -> str | None:
        return self.refusal

    def kernel_trials(self, backend: str) -> Mapping[str, KernelTrial]:
        return self.trials


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pretend that there is a GPU of compute capability 9.0, whose trials run on the CPU."""
    monkeypatch.setattr(backend, "missing_triton", lambda: None)
    monkeypatch.setattr(backend, "_said", set())
    monkeypatch.setattr(probation, "_known", {})
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.setattr(trials, "_sample_on", lambda device, dtype, normalization: torch.rand(2, 1, 5, 7))
    monkeypatch.setattr(probation, "_answers", lambda device: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


def network(device: torch.device = GPU, dtype: torch.dtype = torch.bfloat16, refusal: str | None = None) -> Any:
    return Network(device, dtype, refusal)


def test_auto_takes_kernels_on_a_gpu_and_torch_elsewhere() -> None:
    assert network().backend_choice[:2] == ("triton", None)
    assert network(dtype=torch.float32).backend_choice[:2] == ("triton", None)
    assert network(CPU).backend_choice == ("torch", None, None)
    assert network().use_backend("torch").backend_choice == ("torch", None, None)


def test_the_interpreter_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert network(CPU).backend == "torch"
    assert network(CPU).use_backend("triton").backend == "triton"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtype": torch.float16}, "not in float16"),
        ({"dtype": torch.float64}, "not in float64"),
        ({"refusal": "the plain modules were asked for"}, "plain modules"),
        ({"device": CPU}, "needs a CUDA device"),
    ],
)
def test_what_cannot_run_raises_where_it_was_asked_for(changes: dict[str, Any], reason: str) -> None:
    model = network(**changes)
    with pytest.raises(DeviceError, match=reason):
        model.use_backend("triton")
    assert model.asked_backend == "auto"
    choice = model.backend_choice
    assert choice.backend == "torch"
    assert choice.fallback is None if model.place.device == CPU else reason in choice.fallback


def test_a_missing_triton_and_an_old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(DeviceError, match=r"compute capability 7\.5, and the kernels need 8\.0"):
        network().use_backend("triton")
    assert "7.5" in network().backend_choice.fallback
    monkeypatch.setattr(backend, "missing_triton", lambda: "triton is not installed")
    with pytest.raises(DeviceError, match="pip install"):
        network().use_backend("triton")
    assert "not installed" in network().backend_choice.fallback


def test_a_triton_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for found, reason in (("3.0.0", "triton 3.0.0 is installed, and the kernels need 3.4 or later"), ("3.10.1", None)):
        monkeypatch.setattr(backend, "version", lambda name, found=found: found)
        MISSING_TRITON.cache_clear()
        assert MISSING_TRITON() == reason
    MISSING_TRITON.cache_clear()


def test_a_choice_that_stops_being_possible_raises_at_the_next_run() -> None:
    model = network().use_backend("triton")
    model.place.dtype = torch.float16
    with pytest.raises(DeviceError, match="float16"):
        _ = model.backend


def test_auto_takes_only_what_has_proved_itself() -> None:
    model = network()
    assert model.backend_choice.verdict.verified
    assert machine(model)["backend_verdict"]["families"] == {
        "products": {"passed": True, "difference": 0.0, "tolerance": 0.0, "error": None}
    }
    broken = network()
    broken.trials["sums"] = lambda x: (x + 1, x, 0.25)
    with pytest.warns(FusekitWarning) as warned:
        found = machine(broken)
    reason = "the kernels failed beside their torch twins: sums differs by 1.0e+00, and 2.5e-01 is allowed"
    assert [str(each.message) for each in warned] == [
        f"torch computes 'net' on cuda:0, and not the backend 'triton': {reason}"
    ]
    assert (found["backend"], found["backend_fallback"]) == ("torch", reason)
    assert (found["backend_verdict"]["verified"], found["backend_verdict"]["reason"]) == (False, reason)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert broken.backend == network(refusal="no").backend == "torch"


def test_auto_takes_no_kernels_without_a_trial() -> None:
    model = network()
    model.trials = {}
    with pytest.warns(FusekitWarning, match="'net' names no trials to prove its kernels by"):
        assert model.backend == "torch"
    assert machine(model)["backend_verdict"]["when"] is None


def test_kernels_that_cannot_be_imported_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Network, backend: str) -> None:
        raise ImportError("no module named triton.language")

    monkeypatch.setattr(Network, "kernel_trials", fail)
    with pytest.warns(FusekitWarning, match=r"kernels ImportError: no module named triton\.language"):
        assert network().backend == "torch"


def test_what_was_asked_for_runs_and_says_that_it_is_not_verified() -> None:
    model = network()
    model.trials = {"sums": lambda x: (x + 1, x, 0.25)}
    with pytest.warns(FusekitWarning, match="asked for and computes 'net', though not verified: .* not been proved"):
        model.use_backend("triton")
    found = machine(model)
    assert (found["backend"], found["backend_fallback"]) == ("triton", None)
    assert found["backend_verdict"] == {
        "verified": False,
        "reason": "not verified: the kernels have not been proved on this device (backend auto does so on a GPU)",
        "when": None,
        "families": {},
    }
    with pytest.warns(FusekitWarning, match="torch computes"):
        model.use_backend("auto")
    with pytest.warns(FusekitWarning, match="asked for and computes 'net', though the kernels failed .*: sums differs"):
        model.use_backend("triton")
    assert model.backend == "triton"
    assert not machine(model)["backend_verdict"]["families"]["sums"]["passed"]


def test_a_kernel_that_breaks_the_device_is_an_error_and_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: torch.Tensor) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(probation, "_answers", lambda device: False)
    model = network()
    model.trials = {"sums": fail, "products": lambda x: (x, x, 0.0)}
    with pytest.raises(DeviceError, match=r"kernels of sums have left cuda:0 unusable .*illegal memory access.* start"):
        model.use_backend("auto")
    probation._known.clear()
    with pytest.warns(FusekitWarning, match="sums RuntimeError: CUDA error: an illegal memory access"):
        assert model.backend == "torch"


@pytest.mark.slow
def test_the_doctor_shows_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(diagnose()["kernels"]) == ["none proved yet"]
    broken = network(dtype=torch.float32)
    broken.trials = {"sums": lambda x: (x + 1, x, 0.25)}
    with pytest.warns(FusekitWarning):
        _ = network().backend, broken.backend
    found = diagnose()
    assert re.fullmatch(r"2\S+, verified: products 0\.0e\+00", found["kernels"]["net, bfloat16, A GPU"])
    assert "LEFT OUT: the kernels failed" in found["kernels"]["net, float32, A GPU"]
    assert found["caches"]["verdicts on kernels"] == str(probation.verdicts_folder())
    monkeypatch.setattr(probation, "_versions", lambda: {"fusekit": "9", "torch": "9", "triton": "9"})
    assert diagnose()["kernels"] == {"other versions": "2 verdicts, which do not count here"}


def test_load_and_the_command_line_refuse(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="choose auto, torch, triton"):
        fusekit.load("ehdran", backend="cuda")
    with pytest.raises(DeviceError, match="'laplacian-pyramid': the model has no kernels"):
        fusekit.load("laplacian-pyramid", backend="triton")
    arguments = ["fuse", "a.png", "b.png", "-o", str(tmp_path / "o.png"), "--model", "laplacian-pyramid"]
    outcome = run_cli([*arguments, "--backend", "triton"])
    assert (outcome.code, outcome.out) == (2, "")
    assert "has no kernels for triton" in outcome.err
    assert not list(tmp_path.iterdir())


def test_the_record_names_what_ran() -> None:
    fused = fusekit.fuse([np.eye(8, dtype=np.float32)] * 2, "ehdran", rule="max", backend="auto", device="cpu")
    assert [fused.record[f"backend{part}"] for part in ("", "_fallback", "_verdict")] == ["torch", None, None]


def test_the_doctor_describes_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "no CUDA device" in backend.describe()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert backend.describe() == "serves cuda:0, cuda:1"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert "capability 7.0" in backend.describe()
    monkeypatch.setattr(backend, "missing_triton", lambda: "triton is not installed")
    assert "not installed" in backend.describe()
    monkeypatch.undo()
    assert diagnose()["devices"]["triton kernels"] == backend.describe()
