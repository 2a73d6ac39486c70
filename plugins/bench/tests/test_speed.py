"""``fusekit bench speed``: what is measured of whom, and the command with its errors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, write_texture
from helpers.speed import ADAPTER

import fusekit
from fusekit.errors import OptionError
from fusekit.evaluation.rate import read_luminance
from fusekit.fusing.run import run
from fusekit.machine.devices import processor_name
from fusekit.models.describe import machine
from fusekit_bench.requests import Speed, parse_size
from fusekit_bench.speed import cases, runner
from fusekit_bench.speed.cases import Case, Entrant, mirrored, pair, prepare, units
from fusekit_bench.speed.runner import SCHEMA, measure
from fusekit_bench.speed.table import caption, digits, percent, result, tables
from fusekit_bench.speed.workers import LocalWorker

# Multiply-adds a pixel of the plain modules: an encoding, and the decoding.
ENCODE, DECODE = 431_296, 55_584


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_fuser.py").write_text(ADAPTER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "a_fuser"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One race of everyone on tiny images."""
    folder = tmp_path_factory.mktemp("fuser")
    (folder / "max_fuser.py").write_text(ADAPTER)
    request = Speed(
        rules=["sfnn"],
        sizes=[(32, 40)],
        batch=[2],
        forms=("composed", "plain"),
        dtypes=("float32", "bfloat16"),
        against="max_fuser:fuse",
        rounds=2,
        warm_up=1,
        threads=1,
        memory=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return measure(request, recruit=LocalWorker)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process takes seconds, for every entrant of every race."""
    monkeypatch.setattr(runner, "ProcessWorker", LocalWorker)


@pytest.mark.parametrize(("text", "size"), [("256", (256, 256)), ("300x417", (300, 417)), ("16×20", (16, 20))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "3.5", "12x", "-40", "40x40x40"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match=r"a side or HEIGHTxWIDTH"):
        parse_size(text)


def test_small_sizes() -> None:
    with pytest.raises(OptionError, match=r"15×40 pixels are too small"):
        parse_size("15x40")


def test_pictures_are_mirrored_on_or_cut() -> None:
    picture = np.arange(6).reshape(2, 3)
    assert mirrored(picture, 5, 2).tolist() == [[0, 1], [3, 4], [3, 4], [0, 1], [0, 1]]


def test_pairs_of_the_sample_and_of_files(tmp_path: Path) -> None:
    ct, mri = pair(None, (300, 40), "mirror")
    assert ct.size == mri.size == (300, 40)
    assert np.array_equal(ct.pixels[256], ct.pixels[255])
    whole, _ = pair(None, (256, 256))
    assert np.array_equal(whole.pixels[:, :40], ct.pixels[:256])
    larger, _ = pair(None, (512, 300))
    assert (larger.size, larger.depth) == ((512, 300), "uint8")
    assert larger.pixels.mean() == pytest.approx(whole.pixels.mean(), rel=0.01)
    color, gray = write_texture(tmp_path / "a.png", 1, 24, 20, 3), write_texture(tmp_path / "b.png", 2)
    first, second = pair([color, gray], (24, 20))
    assert not first.color
    assert np.abs(first.pixels - read_luminance(color)[0, 0].numpy() * 255).max() <= 0.5 + 1e-4
    assert np.array_equal(second.pixels, np.rint(read_luminance(gray)[0, 0].numpy() * 255))
    with pytest.raises(OptionError, match="two files, not 1"):
        pair([color], (24, 20))
    given = units([first, second], 3, fusekit.load("ehdran"))
    assert [each.shape for each in given] == [(3, 24, 20)] * 2
    assert np.array_equal(given[0][2], np.roll(given[0][0], 16, axis=0))
    assert (float(given[0].min()), float(given[0].max()), given[0].dtype) == (0, 1, np.dtype(np.float32))


@pytest.mark.slow
def test_results_say_everything_of_everyone(found: dict[str, Any]) -> None:
    found = json.loads(json.dumps(found, allow_nan=False))
    assert (found["schema"], found["rounds"], found["against"]) == (SCHEMA, 2, "max_fuser:fuse")
    assert found["machine"]["processor"] == processor_name()
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert {"fusekit", "torch", "numpy", "python"} <= set(found["versions"])
    (only,) = found["races"]
    assert (only["model"], only["rule"], only["size"], only["batch"]) == ("ehdran", "sfnn", [32, 40], 2)
    assert set(only["tuned"]) == {"channels_last", "decomposition_threads", "keeps_freed_memory"}
    assert [(each["name"], each["dtype"]) for each in only["rates"]] == [
        ("convolution", "float32"),
        ("product", "float32"),
        ("convolution", "bfloat16"),
        ("product", "bfloat16"),
    ]
    assert all(each["median"] > 0 for each in only["files"].values())
    rows = {each["who"]: each for each in only["rows"]}
    assert list(rows) == [
        "reference",
        "reference, tuned",
        "composed float32",
        "composed bfloat16",
        "plain float32",
        "plain bfloat16",
        "max_fuser:fuse",
    ]
    for each in rows.values():
        assert len(each["rounds"]) == 2
        for ratio in (each["ratio"], each["ratio_tuned"], each["ratio_against"]):
            assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
        assert each["pairs_per_second"] == pytest.approx(2 / each["seconds"]["median"])


@pytest.mark.slow
def test_results_stages_rates_and_exactness(found: dict[str, Any]) -> None:
    rows = {each["who"]: each for each in found["races"][0]["rows"]}
    theirs = rows.pop("max_fuser:fuse")
    assert (theirs["stages"], theirs["operations"], theirs["of_product"]) == ({}, None, None)
    assert theirs["ratio_against"]["median"] == 1.0
    for who, each in rows.items():
        assert list(each["stages"]) == ["encode", "rule", "decode", "rest"]
        assert sum(stage["share"] for stage in each["stages"].values()) == pytest.approx(1, abs=0.2)
        assert each["stages"]["encode"]["share"] > each["stages"]["rest"]["share"]
        assert each["operations"]["plain"] == 2 * 2 * 32 * 40 * (2 * ENCODE + DECODE)
        assert each["of_convolution"]["median"] > 0
        limits = (1e-4, 80) if "float32" in who or "reference" in who else (0.1, 50)
        assert each["deviation"] <= limits[0]
        assert each["psnr"] is None or each["psnr"] > limits[1]
    assert rows["plain float32"]["operations"]["executed"] == rows["plain float32"]["operations"]["plain"]
    (first, second) = rows["composed float32"]["rule_report"]["decomposed_channels"]
    assert all(0 < count <= 64 for count in (*first, *second))
    assert len(first) == len(second) == 2
    assert rows["reference"]["rule_report"] is None
    assert rows["reference"]["operations"]["executed"] > rows["reference"]["operations"]["plain"]
    assert rows["reference, tuned"]["operations"] == rows["reference"]["operations"]
    assert (rows["reference"]["form"], rows["reference, tuned"]["form"], rows["reference"]["dtype"]) == (
        *["reference"] * 2,
        "float32",
    )
    assert rows["composed float32"]["operations"]["executed"] < rows["plain float32"]["operations"]["executed"] / 2


@pytest.mark.slow
def test_tables_show_the_results(found: dict[str, Any]) -> None:
    text = result(found, "the command").text
    first = text.splitlines()[0]
    assert first.startswith("`the command`: 2 rounds on the embedded sample resampled, 1 thread of ")
    assert "By its trials, the tuned reference ran channels" in first
    for table in tables(found):
        assert f"**{table.title}.**" in text
    lines = [line for line in text.splitlines() if line.startswith("| ehdran sfnn 32×40 2 a call | ")]
    assert len(lines) == 3 * 7
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {len(table.columns) + 3 for table in tables(found)}
    for whom in ("the reference", "the tuned reference", "`max_fuser:fuse`"):
        assert f"| times as fast as {whom} |" in text
    stages = next(line for line in lines if line.count(" %)") == 5)
    assert "| reference |" in stages
    assert "2 threads of" in caption({**found, "machine": {**found["machine"], "threads": 2}}, "")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.000123, "0.000123"), (9.876, "9.88"), (54.321, "54.3"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_shares_are_per_cent() -> None:
    assert (percent(0.0312), percent(0.31), percent(1.0)) == ("3.1 %", "31 %", "100 %")


def test_choices_go_to_load_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    model = fusekit.load("ehdran")

    def load(name: str, **options: Any) -> Any:
        calls.append({"name": name, **options})
        return model

    monkeypatch.setattr(cases, "load", load)
    small = Case("ehdran.ct-mri", device="cpu", size=(16, 16))
    prepare(small, Entrant("ours", "composed", "auto", "triton"))
    prepare(small, Entrant("ours", "plain", "float32"))
    common = {"name": "ehdran.ct-mri", "device": "cpu"}
    assert calls[0] == {**common, "dtype": "auto", "form": "fastest", "backend": "triton"}
    assert calls[1] == {**common, "dtype": "float32", "form": "plain"}


@pytest.mark.parametrize(
    ("kind", "batch", "as_fused"), [("ours", 1, True), ("ours", 2, False), ("reference", 1, False)]
)
def test_one_pair_of_ours_is_fused_as_the_pipeline_does(
    kind: str, batch: int, as_fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def watched(*arguments: Any) -> Any:
        calls.append(arguments)
        return run(*arguments)

    monkeypatch.setattr(cases, "run", watched)
    case = Case("ehdran", "max", "cpu", (20, 24), batch)
    ready = prepare(case, Entrant(kind))
    images = ready.fuse()
    assert bool(calls) is as_fused
    assert images.shape == (batch, 1, 20, 24)
    assert torch.allclose(images, ready.network.fuse(ready.sources, "max"), atol=1e-5)


def test_records_name_the_processor() -> None:
    assert machine(fusekit.load("ehdran", device="cpu"))["device_name"] == processor_name()


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_command_writes_what_it_is_asked_for(tmp_path: Path, adapter: str) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed tiny: begin -->\nold\n<!-- speed tiny: end -->\nafter\n")
    outputs = ["--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md", "--docs", page, "--part", "tiny"]
    images = [write_texture(tmp_path / f"{name}.png", seed) for seed, name in enumerate("ab")]
    arguments = ["--models", "ehdran", "dilran", "--sizes", "16", "24x20", "--rounds", 1, "--warm-up", 1]
    arguments += [
        "--no-tuned",
        "--rules",
        "max",
        "--no-memory",
        "--clock",
        "processor",
        "--images",
        *images,
        "--against",
        f"{adapter}:fuse",
        "--threads",
        1,
    ]
    done = run_cli(["bench", "speed", *arguments, *outputs])
    assert (done.code, done.err) == (0, "")
    assert done.out == (tmp_path / "a.md").read_text()
    assert "**Where the time goes.**" in done.out
    assert "| dilran max 24×20 | composed float32 |" in done.out
    assert "in its processor time" in done.out
    assert "| times as fast as the reference |" in done.out
    assert "the tuned reference |" not in done.out
    found = json.loads((tmp_path / "a.json").read_text())
    assert [(each["model"], each["size"]) for each in found["races"]] == [
        ("ehdran", [16, 16]),
        ("ehdran", [24, 20]),
        ("dilran", [16, 16]),
        ("dilran", [24, 20]),
    ]
    text = (tmp_path / "a.md").read_text()
    assert "`fusekit bench speed --models ehdran dilran --rules max --sizes 16 24x20 --images a.png b.png" in text
    assert page.read_text() == f"before\n<!-- speed tiny: begin -->\n\n{text}\n<!-- speed tiny: end -->\nafter\n"
    assert str(tmp_path) not in text


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_command_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs the extra bench")
    plot = tmp_path / "speed.svg"
    done = run_cli(["bench", "speed", "--sizes", 16, "--rounds", 1, "--no-memory", "--no-reference", "--plot", plot])
    assert (done.code, done.err) == (0, "")
    assert plot.read_text().lstrip().startswith("<?xml")
    assert "as the reference |" not in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "8"], "too small"),
        (["--sizes", "big"], "HEIGHTxWIDTH"),
        (["--dtypes", "float31"], "unknown dtype 'float31'"),
        (["--models", "ehdrann"], "did you mean 'ehdran'"),
        (["--rules", "sfn"], "did you mean 'sfnn'"),
        (["--devices", "tpu"], "unknown device 'tpu'"),
        (["--forms", "faster"], "no form 'faster'"),
        (["--batch", "two"], "--batch takes whole numbers"),
        (["--batch", "0"], "--batch is 1 or more"),
        (["--rounds", "0"], "--rounds"),
        (["--clock", "processor"], "give --threads 1"),
        (["--against", "no_such_module:fuse"], "cannot be imported: ModuleNotFoundError"),
        (["--against", "a_fuser"], "takes MODULE:ATTRIBUTE"),
        (["--against", "a_fuser:NUMBER"], "is not callable"),
        (["--against", "a_fuser:fails"], "fails for two images of 16×16 pixels: ValueError: no such thing"),
        (["--against", "a_fuser:stacks"], "returns arrays of shape"),
        (["--against", "a_fuser:breaks"], "not finite"),
        (["--plot", "speed.doc"], "none of the formats"),
        (["--json", "missing/speed.json"], "does not exist"),
        (["--docs", "missing.md"], "cannot read the page"),
        (["--images", "one.png", "two.png"], "one.png"),
    ],
)
@pytest.mark.usefixtures("one_process")
def test_choices_that_cannot_be_used(arguments: list[str], message: str, adapter: str, tmp_path: Path) -> None:
    sizes = [] if "--sizes" in arguments else ["--sizes", "16"]
    done = run_cli(["bench", "speed", "--no-reference", "--no-memory", "--json", "out.json", *sizes, *arguments])
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".json"] == []


def test_plots_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else known(name))
    done = run_cli(["bench", "speed", "--sizes", 16, "--plot", "speed.png"])
    assert done.code == 2
    assert "pip install 'fusekit-imaging[bench]'" in done.err
