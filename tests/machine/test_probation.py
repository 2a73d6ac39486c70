"""Kernels on probation: what passes, what fails, and where the verdict is kept; any function stands in for kernels."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fusekit.machine import devices, probation
from fusekit.machine.files import cache_folder
from fusekit.machine.probation import Finding, Verdict, kept, key_of, prove, recall
from fusekit.version import package_digest

CPU = torch.device("cpu")
KEY = key_of(CPU, model="net", dtype="float32", families="sums", code="1")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(probation, "_known", {})
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "verdicts"


class Counted:
    """A trial that counts how often it ran."""

    def __init__(self, kernel: Callable[[Tensor], Tensor] = torch.clone, tolerance: float = 1e-3) -> None:
        self.kernel, self.tolerance, self.runs = kernel, tolerance, 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        self.runs += 1
        return self.kernel(x), x, self.tolerance


def sample() -> Tensor:
    return torch.linspace(0, 1, 12).view(1, 1, 3, 4)


def proved(trial: Counted, key: dict[str, str] = KEY, forget: bool = False) -> Verdict:
    if forget:
        probation._known.clear()
    return prove(key, {"sums": trial}, sample, CPU)


def raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def kernel(x: Tensor) -> Tensor:
        raise error

    return kernel


def test_what_is_near_enough_passes() -> None:
    verdict = proved(Counted(lambda x: x + 5e-4))
    assert verdict.verified
    assert verdict.reason is None
    found = verdict.families["sums"]
    assert (found.passed, found.tolerance, found.error) == (True, 1e-3, None)
    assert found.difference == pytest.approx(5e-4, rel=1e-3)
    assert verdict.as_dict()["families"]["sums"]["difference"] == found.difference


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (lambda x: x + 2e-3, "sums differs by 2.0e-03, and 1.0e-03 is allowed"),
        (lambda x: x / 0, "sums did not pass: the kernels gave values that are not finite"),
        (lambda x: x[..., 1:], r"sums gave a result of shape (1, 1, 3, 3), and its twin (1, 1, 3, 4)"),
        (raising(ValueError("no such\n layout")), "sums ValueError: no such layout"),
        (raising(SystemExit(3)), "sums SystemExit: 3"),
        (raising(RuntimeError("x" * 1000)), "…"),
    ],
    ids=["wrong", "nan", "shape", "exception", "exit", "pages"],
)
def test_what_is_wrong_in_any_way_fails(kernel: Callable[[Tensor], Tensor], reason: str, cache: Path) -> None:
    trial = Counted(kernel)
    verdict = proved(trial)
    assert not verdict.verified
    assert reason in verdict.reason
    assert len(verdict.reason) < 500
    # Records and files hold no NaN, which is no JSON.
    json.dumps(verdict.as_dict(), allow_nan=False)
    assert proved(trial, forget=True) == verdict
    assert trial.runs == 1


def test_every_family_is_tried_though_one_fails() -> None:
    verdict = prove(KEY, {"a": Counted(raising(OSError())), "b": Counted(), "c": Counted(torch.ones_like)}, sample, CPU)
    assert [each.passed for each in verdict.families.values()] == [False, True, False]
    assert verdict.reason.count(";") == 1


def test_a_twin_that_is_no_number_proves_nothing() -> None:
    verdict = prove(KEY, {"sums": lambda x: (x / 0, x / 0, 1.0)}, sample, CPU)
    assert "the twin gave values that are not finite" in verdict.reason
    assert not prove({**KEY, "code": "2"}, {"sums": lambda x: (x[:0], x[:0], 1.0)}, sample, CPU).verified


def test_the_user_can_interrupt(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        proved(Counted(raising(KeyboardInterrupt())))
    assert not cache.exists()
    assert recall(KEY) is None


def test_a_verdict_is_kept_for_its_key(cache: Path) -> None:
    trial = Counted()
    first = proved(trial)
    assert (proved(trial), trial.runs) == (first, 1)
    assert (proved(trial, forget=True), trial.runs) == (first, 1)
    assert kept() == [(KEY, first)]
    for part in KEY:
        proved(trial, {**KEY, part: "other"}, forget=True)
    assert trial.runs == 1 + len(KEY)
    assert len(list(cache.iterdir())) == trial.runs


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace('"when"', '"then"'),
        lambda text: text.replace('"families": {', '"families": {"other": 3, '),
        lambda text: text.replace('"key"', '"key": 3, "other"'),
        lambda text: text.replace('"difference": 0.0', '"difference": 7.0'),
        lambda text: text.replace('"difference": 0.0', '"difference": NaN'),
        lambda text: text.replace('"passed": true', '"passed": false'),
        lambda text: text.replace('"passed": true', '"succeeded": true'),
        lambda text: text.replace('"code": "1"', '"code": "2"'),
    ],
)
def test_a_damaged_file_is_proved_anew_and_written_again(damage: Callable[[str], str], cache: Path) -> None:
    trial = Counted()
    proved(trial)
    (path,) = cache.iterdir()
    whole = path.read_text(encoding="utf-8")
    changed = damage(whole)
    assert changed != whole
    path.write_text(changed, encoding="utf-8")
    assert proved(trial, forget=True).verified
    assert trial.runs == 2
    assert json.loads(path.read_text(encoding="utf-8"))["key"] == KEY


def test_binary_rubbish_is_no_verdict(cache: Path) -> None:
    proved(Counted())
    (path,) = cache.iterdir()
    path.write_bytes(b"\xff\xfe\x00")
    assert proved(Counted(), forget=True).verified


def test_where_nothing_can_be_written_each_process_proves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    trial = Counted()
    for folder in (str(tmp_path / "file"), "/proc/nothing"):
        monkeypatch.setenv("FUSEKIT_CACHE", folder)
        assert proved(trial, forget=True).verified
        assert proved(trial).verified
    assert trial.runs == 2
    monkeypatch.delenv("FUSEKIT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    assert cache_folder() is None
    assert proved(trial, forget=True).verified
    assert kept() == []


def test_a_lack_of_memory_is_no_lasting_verdict(cache: Path) -> None:
    trial = Counted(raising(torch.cuda.OutOfMemoryError("CUDA out of memory.")))
    assert "out of memory" in proved(trial).reason
    assert not proved(trial).verified
    assert trial.runs == 1
    assert not cache.exists()
    trial.kernel = torch.clone
    assert proved(trial, forget=True).verified


def test_threads_prove_once() -> None:
    trial = Counted()
    threads = [threading.Thread(target=proved, args=(trial,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trial.runs == 1


def rounds_products() -> bool:
    matmul = torch.backends.cuda.matmul
    return matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32


def test_twins_are_exact_and_settings_come_back() -> None:
    seen = []

    def trial(x: Tensor) -> tuple[Tensor, Tensor, float]:
        seen.append((torch.is_inference_mode_enabled(), rounds_products()))
        return x, x, 0.0

    torch.set_float32_matmul_precision("high")
    try:
        assert rounds_products()
        prove(KEY, {"sums": trial}, sample, CPU)
        assert rounds_products()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [(True, False)]


def test_the_key_names_the_gpu_and_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(probation, "driver_version", lambda: "550.54.15")
    key = key_of(torch.device("cuda", 0), code="1")
    assert (key["device"], key["capability"], key["driver"]) == ("A GPU", "9.0", "550.54.15")
    assert {"cuda", "torch", "triton", "fusekit"} < set(key)


def test_the_driver_says_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56\nGCC version: 12.2.0"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert devices.driver_version.__wrapped__() == "550.54.15"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: "")
    assert devices.driver_version.__wrapped__().startswith(("CUDA ", "unknown"))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == Path(os.environ["FUSEKIT_CACHE"])
    monkeypatch.delenv("FUSEKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fusekit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "fusekit"


def test_the_digest_is_of_the_whole_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inner = tmp_path / "a_package" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text("")
    (tmp_path / "a_module.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("a_module")
    importlib.import_module("a_package.inner")

    before = package_digest("a_package"), package_digest("a_module")
    assert package_digest("a_package.inner") == before[0]
    (inner / "more.py").write_text("x = 1")
    package_digest.cache_clear()
    assert package_digest("a_package.inner") != before[0]
    assert package_digest("a_module") == before[1]
    for name in ("a_package", "a_package.inner", "a_module"):
        monkeypatch.delitem(sys.modules, name)


def test_a_finding_reads_as_a_sentence() -> None:
    assert str(Finding(False, 2.0, 1.0)) == "differs by 2.0e+00, and 1.0e+00 is allowed"
    assert str(Finding(False)) == "no difference was found out"
    assert Verdict().reason.startswith("not verified")
