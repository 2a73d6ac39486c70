"""The choice of a backend: what is refused, with which reason, and what the record and the doctor say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_helper import run_cli

import fusekit
from fusekit.cli.doctor import diagnose
from fusekit.errors import DeviceError, OptionError
from fusekit.machine import backends as backend
from fusekit.models.base import FusionModel

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Network(FusionModel):
    """A model with or without kernels whose one parameter claims to be anywhere."""

    spec = fusekit.ModelSpec(id="net", factory="x:X", summary="none", default_rule="max")

    def __init__(self, device: torch.device, dtype: torch.dtype, refusal: str | None) -> None:
        super().__init__()
        self.place, self.refusal = type("Place", (), {"device": device, "dtype": dtype})(), refusal

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        yield self.place

    def kernels_refusal(self, backend: str) -> str | None:
        return self.refusal


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "is_installed", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


def network(device: torch.device = GPU, dtype: torch.dtype = torch.bfloat16, refusal: str | None = None) -> FusionModel:
    return Network(device, dtype, refusal)


def test_auto_takes_kernels_on_a_gpu_and_torch_elsewhere() -> None:
    assert network().backend_choice == ("triton", None)
    assert network(dtype=torch.float32).backend_choice == ("triton", None)
    assert network(CPU).backend_choice == ("torch", None)
    assert network().use_backend("torch").backend_choice == ("torch", None)


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
def test_what_cannot_run_raises_where_it_was_asked_for(changes: dict[str, object], reason: str) -> None:
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
    monkeypatch.setattr(backend, "is_installed", lambda: False)
    with pytest.raises(DeviceError, match="pip install"):
        network().use_backend("triton")
    assert "not installed" in network().backend_choice.fallback


def test_a_choice_that_stops_being_possible_raises_at_the_next_run() -> None:
    model = network().use_backend("triton")
    model.place.dtype = torch.float16
    with pytest.raises(DeviceError, match="float16"):
        _ = model.backend


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
    assert (fused.record["backend"], fused.record["backend_fallback"]) == ("torch", None)


def test_the_doctor_describes_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "no CUDA device" in backend.describe()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert backend.describe() == "serves cuda:0, cuda:1"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert "capability 7.0" in backend.describe()
    monkeypatch.setattr(backend, "is_installed", lambda: False)
    assert "not installed" in backend.describe()
    monkeypatch.undo()
    assert diagnose()["devices"]["triton kernels"] == backend.describe()
