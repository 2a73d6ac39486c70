"""The dtype ``auto`` and the form by torch.compile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.cli import write_texture

import fusekit
from fusekit.cli.main import main
from fusekit.errors import DeviceError, OptionError
from fusekit.models import precision

NATIVE = "_is_avx512_bf16_supported"


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda device: True)


def test_auto_takes_bfloat16_where_the_image_stays(native: None) -> None:
    model = fusekit.load("ehdran", dtype="auto", device="cpu")
    assert next(model.parameters()).dtype == torch.bfloat16
    assert "dB from float32" in model.provenance.dtype_reason


def test_auto_refuses_bfloat16_that_changes_the_image(native: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "LEAST_PSNR", 90.0)
    model = fusekit.load("ehdran", dtype="auto", device="cpu")
    assert next(model.parameters()).dtype == torch.float32
    assert "and 90 are asked for" in model.provenance.dtype_reason


def test_auto_stays_with_float32_without_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (NATIVE, "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    model = fusekit.load("ehdran", dtype="auto", device="cpu")
    assert next(model.parameters()).dtype == torch.float32
    assert model.provenance.dtype_reason == "cpu does not multiply bfloat16 natively"


def test_models_without_weights_have_nothing_to_choose(native: None) -> None:
    model = fusekit.load("pixel", dtype="auto", device="cpu")
    assert model.provenance.dtype_reason == "the model has no weights"


def test_the_ratio_is_that_of_the_fused_images() -> None:
    model = fusekit.load("ehdran", device="cpu")
    found = precision.bfloat16_psnr(model)
    assert 50 < found < 60
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.slow
def test_the_record_says_what_auto_took(native: None, tmp_path: Path) -> None:
    output = tmp_path / "fused.png"
    paths = [str(write_texture(tmp_path / f"{seed}.png", seed)) for seed in (1, 2)]
    result = CliRunner().invoke(main, ["fuse", *paths, "-o", str(output), "--dtype", "auto", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "fused.png.json").read_text())
    assert record["dtype"] == "bfloat16"
    assert "natively" in record["dtype_reason"]
    asked = fusekit.fuse(paths, dtype="float32", device="cpu").record
    assert (asked["dtype"], asked["dtype_reason"]) == ("float32", None)


def test_unknown_dtypes_and_forms_are_refused() -> None:
    with pytest.raises(DeviceError, match="choose auto, float32, bfloat16, float16"):
        fusekit.load("ehdran", dtype="int8")
    with pytest.raises(OptionError, match="no form 'quick'; choose fastest, plain, composed, compile"):
        fusekit.load("ehdran", form="quick")
    with pytest.raises(OptionError, match="no form 'compile'; choose fastest, plain"):
        fusekit.load("pixel", form="compile")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@torch.inference_mode()
def test_the_compiled_form_is_the_same_function() -> None:
    sources = list(torch.rand(2, 1, 1, 24, 20, generator=torch.Generator().manual_seed(3)))
    wanted = fusekit.load("dilran", form="plain", device="cpu").fuse(sources)
    model = fusekit.load("dilran", form="compile", device="cpu")
    assert model.form == "compile"
    torch.testing.assert_close(model.fuse(sources), wanted, atol=2e-5, rtol=0)


@pytest.mark.slow
@torch.inference_mode()
def test_a_missing_compiler_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    # Or the size that was compiled before would be a reason to compile for any size, which takes longer.
    torch._dynamo.reset()
    model = fusekit.load("dilran", form="compile", device="cpu")
    with pytest.raises(DeviceError, match="needs a C\\+\\+ compiler; or take the form composed"):
        model.fuse(list(torch.rand(2, 1, 1, 26, 22)))
