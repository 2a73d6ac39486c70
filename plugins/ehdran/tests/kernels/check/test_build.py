"""Every kernel is compiled for A100 and H100 without a GPU, in a process of its own where nothing is interpreted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels.check import build
from fusekit_ehdran.kernels.check.build import Built, table
from fusekit_ehdran.kernels.check.variants import VARIANTS
from fusekit_ehdran.kernels.settings import TABLE, Setting


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder), **variables}
    command = [sys.executable, "-m", "fusekit_ehdran.kernels.check.build", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


def cells_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_every_kernel_compiles_and_nothing_spills(pytestconfig: pytest.Config) -> None:
    # What was compiled of the same source by the same compiler is not compiled again.
    done = run(pytestconfig.cache.mkdir("triton"))
    print(done.stdout)
    assert done.returncode == 0, done.stderr + done.stdout
    head, _, *rows = cells_of(done.stdout)
    built = {tuple(row[:3]): dict(zip(head, row, strict=True)) for row in rows}
    assert set(built) == {
        (kernel, dtype, capability) for kernel in TABLE for dtype in ("bf16", "fp32") for capability in ("8.0", "9.0")
    }
    for (kernel, dtype, capability), row in built.items():
        assert row["spilled, bytes"] == "0"
        # More than these a program cannot have: registers by the instruction set, shared memory by the GPU.
        assert 0 < int(row["registers"]) <= 255
        assert float(row["shared, KiB"]) <= {"8.0": 163, "9.0": 227}[capability]
        if dtype == "bf16" and kernel not in ("sum_taps", "shares"):
            assert row["products"] == {"8.0": "mma", "9.0": "wgmma"}[capability]


def test_what_is_interpreted_is_not_compiled(tmp_path: Path) -> None:
    done = run(tmp_path, TRITON_INTERPRET="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unset it" in done.stderr


def test_a_spill_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Built("shared", "bf16", 90, Setting(8, 16, 4, 3), 255, spilled, 73728, "wgmma") for spilled in (0, 16)]
    monkeypatch.setattr(build, "build_all", lambda kernels, capabilities: rows[:1])
    assert build.main([]) == 0
    monkeypatch.setattr(build, "build_all", lambda kernels, capabilities: rows)
    assert build.main(["--kernel", "shared", "--capability", "90"]) == 1
    assert "| shared | bf16 | 9.0 | 8 × 16 | 4 | 3 | 255 | 16 | 72.0 | wgmma |" in capsys.readouterr().out
    assert table(rows[:1]).count("\n") == 4


def test_each_kernel_has_settings_and_each_setting_a_kernel() -> None:
    assert {variant.kernel for variant in VARIANTS} == set(TABLE)
    for entries in TABLE.values():
        for setting in entries.values():
            assert setting.height % 2 == setting.width % 2 == 0
            # Powers of two, as all shapes of blocks in Triton.
            assert setting.pixels & (setting.pixels - 1) == 0
