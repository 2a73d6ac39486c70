"""The check command: what it compares, how it counts and reports, and what it says where there is no GPU."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

pytest.importorskip("triton", "3.4", reason="triton 3.4 or newer is not installed")

from fusekit_ehdran.kernels import attention, decode, edges, multiscale
from fusekit_ehdran.kernels.check import __main__ as check
from fusekit_ehdran.kernels.check import report, roofline, timing
from fusekit_ehdran.kernels.check.cases import Case, cases
from fusekit_ehdran.kernels.check.report import Compared, Timed
from fusekit_ehdran.kernels.form import attention_weights, multiscale_weights
from fusekit_ehdran.kernels.settings import TABLE, Setting, forced, lookup, setting
from fusekit_ehdran.kernels.trials import random_parts

CPU = torch.device("cpu")
PAGE = Path(__file__).parent / "../../../../../docs/kernels.md"


def test_interpreted_every_launch_is_compared_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "INTERPRETED", ((1, 2, 3),))
    assert check.main(["--interpret", "--markdown", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text()
    assert text == capsys.readouterr().out
    assert text.startswith("# Kernels on the CPU, interpreted, torch ")
    for launch in roofline.LAUNCHES:
        for dtype in ("float32", "bfloat16"):
            assert f"| {launch.name} | {dtype} |" in text
    assert "WRONG" not in text


def test_a_kernel_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check, "INTERPRETED", ((1, 2, 3),))
    right = decode.sum_taps_twin
    monkeypatch.setattr("fusekit_ehdran.kernels.check.cases.sum_taps_twin", lambda *inputs: 1.5 * right(*inputs))
    assert check.main(["--interpret"]) == 1
    output = capsys.readouterr()
    assert output.out.count("WRONG") == 2
    assert "fusekit: sum_taps in float32 on (1, 2, 3) is off by" in output.err


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check.main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "there is no CUDA device; --interpret checks" in output.err


def test_an_error_that_is_no_number_does_not_pass() -> None:
    wrong = Case("a", "a", lambda: torch.tensor([1.0, math.nan]), lambda: torch.ones(2))
    assert math.isnan(wrong.error())
    rows = [
        Compared("a", "float32", (1, 2, side), error, 1e-5) for side, error in ((2, 1e-6), (3, math.nan), (4, 1e-7))
    ]
    assert [row.passes for row in rows] == [True, False, True]
    assert "| a | float32 | nan | 1.0e-05 | 1 × 2 × 3 | WRONG |" in report.comparison(rows)
    assert "| a | float32 | 1.0e-06 | 1.0e-05 | 1 × 2 × 2 | ok |" in report.comparison(rows[::2])


def test_work_is_counted_from_the_weights() -> None:
    """The multiply-adds a pixel of each launch are the weights it multiplies by, each once."""
    encoder, decoder = cast(Any, random_parts(CPU))
    basis = torch.randn(64, 2, dtype=torch.float64)
    of_edges = edges.edge_weights(encoder.edge, basis, 1.0, torch.float32)
    layers = decode.decoder_weights(decoder, torch.float32)
    used = {
        "multiscale": int((multiscale_weights(encoder, torch.float32).weight != 0).sum()),
        "shared, once": attention_weights(encoder, torch.float32).shared.numel(),
        "edges": sum(
            int((each != 0).sum())
            for each in (
                of_edges.first,
                of_edges.second_of_maps,
                of_edges.second,
                of_edges.project,
                of_edges.project_gradient,
            )
        )
        + 2 * 18 * 64,
        "convolve": layers.first.numel(),
        "taps": layers.second.numel() + decoder.convolutions[2].weight.numel(),
    }
    counted = {launch.name: launch.multiply_adds for launch in roofline.LAUNCHES}
    assert {name: counted[name] for name in used} == used
    assert [each.name for each in cases(CPU, torch.float32, 1, 2, 2)] != []
    assert {each.kernel for each in roofline.LAUNCHES} == set(TABLE)


def test_the_roofline_is_the_slower_of_products_and_memory() -> None:
    needed = roofline.Work(operations=600, bytes=30)
    assert needed.seconds(rate=100, bandwidth=10) == 6
    assert needed.bound(rate=100, bandwidth=10) == "products"
    assert needed.seconds(rate=1000, bandwidth=10) == 3
    assert needed.bound(rate=1000, bandwidth=10) == "memory"
    launch = roofline.Launch("a", "a", 5, 3, 7, 2, ("5", "3"))
    assert roofline.work([launch, launch], images=2, pixels=10, item_size=4) == (400, 2 * (60 + 7) * 4)
    pair = roofline.work_of_pairs(3, 10, 2)
    assert pair.operations == 30 * sum(2 * each.multiply_adds * each.images for each in roofline.LAUNCHES)
    assert roofline.rates_of("NVIDIA H100 80GB HBM3") == (989e12, 67e12, 3.35e12)
    assert roofline.rates_of("NVIDIA H100 PCIe").bfloat16 == 756e12
    assert roofline.rates_of("NVIDIA GeForce GTX 1080") is None


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the tests")
def test_the_page_has_the_table_of_the_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert roofline.table(roofline.RATES["H100"]) in page
    assert roofline.norms_table(roofline.RATES["H100"]) in page


def test_launches_are_reported_beside_the_roofline() -> None:
    needed = roofline.work([roofline.LAUNCHES[1]], 32, 256 * 256, 2)
    least = needed.seconds(989e12, 3.35e12)
    rows = [Timed("shared, once", "bfloat16", "ieee", 32, 256, 2 * least)]
    text = report.launches(rows, "NVIDIA H100 80GB HBM3")
    assert f"| {2e6 * least:.1f} | {1e6 * least:.1f} | 50% |" in text
    assert "989 TFLOP/s in bfloat16, 67.0 TFLOP/s in float32 and 3.35 TB/s" in text
    unknown = report.launches([rows[0]._replace(seconds=None)], "GPU")
    assert "not known here" in unknown
    assert "| shared, once | bfloat16 | tensor cores | 32 | 256 |  |  |  |" in unknown


def test_models_are_reported_a_pair_and_against_the_faster_compiled_form() -> None:
    seconds = {"eager": 0.064, "compiled": 0.032, "compiled, composed": 0.016, "triton": 0.004, "composed": None}
    rows = [Timed(name, "bfloat16", "ieee", 32, 256, each) for name, each in seconds.items()]
    rows += [Timed("triton", "float32", "ieee", 32, 256, 0.008)]
    text = report.models(rows, "unknown")
    assert "| triton | bfloat16 | 32 | 256 | 125.0 |  |  | 16.00× | 4.00× |" in text
    assert "| composed | bfloat16 | 32 | 256 |  |  |  |  |  |" in text
    assert "| triton | float32 | 32 | 256 | 250.0 |  |  |  |  |" in text


def test_settings_are_those_of_the_nearest_earlier_gpu() -> None:
    entries = {("bfloat16", 80): Setting(8, 8, 4, 2), ("bfloat16", 90): Setting(16, 16, 8, 3)}
    assert lookup(entries, torch.bfloat16, 89) == entries["bfloat16", 80]
    assert lookup(entries, torch.bfloat16, 120) == entries["bfloat16", 90]
    with pytest.raises(KeyError, match=r"float32 on compute capability 9\.0"):
        lookup(entries, torch.float32, 90)
    with forced("shared", entries["bfloat16", 90]):
        assert setting("shared", torch.float32) == entries["bfloat16", 90]
        with forced("shared", entries["bfloat16", 80]):
            assert setting("shared", torch.float32) == entries["bfloat16", 80]
        assert setting("shared", torch.float32) == entries["bfloat16", 90]
    assert setting("shared", torch.float32, CPU) == TABLE["shared"]["float32", 80]
    assert Setting(8, 16, 4, 2).programs(3, 17, 16) == 9


def test_tuning_takes_the_fastest_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are made up from the setting in force; one that the GPU refuses has none."""

    def times(runs: dict[str, partial[torch.Tensor]], rounds: int) -> dict[str, float | None]:
        chosen = setting("shared", torch.bfloat16, CPU)
        slow = 1e-3 * (1 + abs(chosen.pixels - 64) + abs(chosen.warps - 8) + abs(chosen.stages - 3))
        return dict.fromkeys(runs, None if chosen.pixels == 256 else slow)

    monkeypatch.setattr(timing, "medians", times)
    case = Case("shared, once", "shared", lambda: torch.ones(1), lambda: torch.ones(1))
    timed = timing.measure(case, Setting(16, 16, 8, 3), rounds=2)
    assert min(timed, key=lambda each: timed[each]) == Setting(8, 8, 8, 3)
    assert all(each.pixels != 256 for each in timed)
    line = timing.entry("shared", "bfloat16", 90, Setting(8, 8, 8, 3), timed)
    assert line.startswith('"shared": ("bfloat16", 90): Setting(8, 8, 8, 3),  # 1000.0 µs;')
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.setattr(timing, "_TUNED_ON", (1, 2))
    text = timing.tune(CPU, rounds=1)
    assert text.startswith("# A GPU, compute capability 9.0\n")
    assert text.count("\n") == 2 * len(TABLE)


def test_medians_are_of_rounds_in_turn_and_leave_out_what_raises(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(timing, "_seconds", lambda run: run())

    def run(name: str, seconds: list[float]) -> float:
        order.append(name)
        return seconds[order.count(name) - 1]

    def broken() -> float:
        raise RuntimeError("out of resources")

    runs: dict[str, Any] = {
        "a": partial(run, "a", [9, 9, 9, 1, 5, 2]),
        "broken": broken,
        "b": partial(run, "b", [9, 9, 9, 4, 4, 7]),
    }
    assert timing.medians(runs, rounds=3) == {"a": 2, "broken": None, "b": 4}
    assert order[6:] == ["a", "b"] * 3
    assert "broken cannot run: out of resources" in capsys.readouterr().err


def test_kernels_name_no_twin() -> None:
    """A launcher that computed by its twin would always agree with it."""
    for module, function in (
        (attention, "convolve_and_add"),
        (attention, "convolve_and_attend"),
        (multiscale, "multiscale"),
        (edges, "add_edges"),
        (decode, "convolve"),
        (decode, "convolve_to_taps"),
        (decode, "sum_taps"),
    ):
        assert not any("twin" in name for name in getattr(module, function).__code__.co_names)
