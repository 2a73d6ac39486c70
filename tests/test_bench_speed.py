"""``fusekit bench speed``: races on a clock of their own, the oracle, the counts, and the command with its errors."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cli_helper import run_cli, write_texture
from torch.utils.flop_counter import FlopCounterMode

import fusekit
from fusekit import pipeline
from fusekit.bench import speed_entrants, speed_memory, speed_rates
from fusekit.bench.speed import SCHEMA, Request, measure
from fusekit.bench.speed_entrants import Case, Entrant, Ready, prepare, watch
from fusekit.bench.speed_images import mirrored, pair, parse_size, units
from fusekit.bench.speed_oracle import Choices, choose, published, published_rule
from fusekit.bench.speed_race import Contestant, Stopwatch, race, ratios, spread
from fusekit.bench.speed_rates import count_operations, probes
from fusekit.bench.speed_rows import Entry, row
from fusekit.bench.speed_table import caption, digits, markdown, percent, tables
from fusekit.errors import InputError, OptionError
from fusekit.evaluation import read_luminance
from fusekit.hardware import processor_name
from fusekit.model import FusionModel, build_rule
from fusekit.record import machine

CPU = torch.device("cpu")
# Multiply-adds a pixel of the plain modules: an encoding, and the decoding.
ENCODE, DECODE, SHARED = 431_296, 55_584, 36_864

ADAPTER = """
import numpy as np

def fuse(pair):
    first, second = pair
    assert first.dtype == second.dtype == np.float32 and first.shape == second.shape and first.ndim == 2
    assert 0 <= first.min() and first.max() <= 1
    return np.maximum(first, second)

def fails(pair):
    raise ValueError("no such thing")

def stacks(pair):
    return np.stack(pair)

def breaks(pair):
    return pair[0] / 0 * 0

NUMBER = 3
"""


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, *seconds: float) -> Callable[[], None]:
        """Return work that takes these seconds, one after the other, and then as long as the last."""
        queue = list(seconds)

        def work() -> None:
            self.now += queue.pop(0) if len(queue) > 1 else queue[0]

        return work


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_fuser.py").write_text(ADAPTER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "a_fuser"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One race of everyone on tiny images, the memory too."""
    folder = tmp_path_factory.mktemp("fuser")
    (folder / "max_fuser.py").write_text(ADAPTER)
    request = Request(
        sizes=[(32, 40)],
        batches=[2],
        forms=("composed", "plain"),
        dtypes=("float32", "bfloat16"),
        against="max_fuser:fuse",
        rounds=2,
        warm_up=1,
        memory=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return measure(request)


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
    ct, mri = pair(None, (300, 40))
    assert ct.size == mri.size == (300, 40)
    assert np.array_equal(ct.pixels[256], ct.pixels[255])
    color, gray = write_texture(tmp_path / "a.png", 1, 24, 20, 3), write_texture(tmp_path / "b.png", 2)
    first, second = pair([color, gray], (24, 20))
    assert not first.is_color
    assert np.abs(first.pixels - read_luminance(color)[0, 0].numpy() * 255).max() <= 0.5 + 1e-4
    assert np.array_equal(second.pixels, np.rint(read_luminance(gray)[0, 0].numpy() * 255))
    with pytest.raises(OptionError, match="two files, not 1"):
        pair([color], (24, 20))
    given = units([first, second], 3, fusekit.load("ehdran"))
    assert [each.shape for each in given] == [(3, 24, 20)] * 2
    assert np.array_equal(given[0][2], np.roll(given[0][0], 16, axis=0))
    assert (given[0].min(), given[0].max(), given[0].dtype) == (0, 1, np.float32)


def test_stages_on_a_clock() -> None:
    clock = Clock()
    stopwatch = Stopwatch(CPU, clock)
    inside = stopwatch.stage("decode", clock.takes(4.0))
    encode = stopwatch.stage("encode", clock.takes(1.0, 3.0))

    def outside() -> None:
        clock.now += 1.0
        inside()

    rule, rest = stopwatch.stage("rule", outside), clock.takes(0.5)

    def work() -> None:
        encode()
        rule()
        rest()

    turn = stopwatch.time(work, repeats=2)
    # What a stage calls is part of it, and not a stage of its own.
    assert turn.stages == {"encode": 2.0, "rule": 5.0}
    assert turn.seconds == 7.5
    inside()
    assert stopwatch.time(rest).stages == {}


def test_a_stage_that_fails_stops_nothing() -> None:
    stopwatch = Stopwatch(CPU, Clock())

    def fail() -> None:
        raise InputError("no")

    failing = stopwatch.stage("rule", fail)
    with pytest.raises(InputError):
        stopwatch.time(failing)
    assert stopwatch.time(stopwatch.stage("encode", lambda: None)).stages == {"encode": 0.0}


def test_cuda_is_timed_by_events_and_its_stages_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(), []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            assert stream == "the stream"
            self.at = clock.now

        def elapsed_time(self, other: Event) -> float:
            return 1000 * (other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the stream")
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    stopwatch = Stopwatch(torch.device("cuda"), lambda: pytest.fail("the clock of the CPU"))
    turn = stopwatch.time(stopwatch.stage("encode", clock.takes(1.0, 2.0, 5.0, 7.0)), repeats=2)
    # The whole is that of the first two calls, the stages those of the other two.
    assert turn.seconds == pytest.approx(1.5)
    assert turn.stages == {"encode": pytest.approx(6.0)}
    assert len(waits) == 4


def test_races_interleave_and_rounds_begin_with_another() -> None:
    order: list[str] = []
    clock, rounds = Clock(), []
    contestants = [Contestant(name, lambda name=name: order.append(name), Stopwatch(CPU, clock)) for name in "abc"]
    turns = race(contestants, 4, lambda: rounds.append(len(order)))
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert rounds == [3, 6, 9, 12]
    assert {name: len(each) for name, each in turns.items()} == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize(("seconds", "repeats"), [(2.0, 1), (0.05, 1), (0.02, 3), (0.0, 100)])
def test_short_work_is_repeated_in_a_turn(seconds: float, repeats: int) -> None:
    clock = Clock()
    contestant = Contestant("it", clock.takes(9.0, seconds), Stopwatch(CPU, clock))
    contestant.warm_up(2)
    assert contestant.repeats == repeats
    assert contestant.turn().seconds == pytest.approx(seconds)


def test_spreads_and_ratios() -> None:
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0}
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_ratios_are_of_the_rounds() -> None:
    """A machine that halves its speed for a round changes the times and leaves the ratios."""
    clock, network = Clock(), SimpleNamespace(spec=SimpleNamespace(output="clamp"))
    facts = {"form": "composed", "dtype": "float32", "backend": "torch", "device": "cpu"}
    seconds = {"oracle": (4.0, 8.0, 5.0), "ours": (1.0, 2.0, 1.0), "against": (2.0, 4.0, 3.0)}
    work = {kind: clock.takes(*each) for kind, each in seconds.items()}
    turns = race([Contestant(kind, each, Stopwatch(CPU, clock)) for kind, each in work.items()], 3)
    images = torch.tensor([[[[0.0, 1.0], [0.5, 1.5]]]])
    entries = [
        Entry(
            Entrant(kind, target="theirs"),
            Ready(lambda: images, network, None, [], facts),  # type: ignore[arg-type]
            turns[kind],
            images + (0.1 if kind == "ours" else 0.0),
            {"plain": 8 * 10**9, "executed": 2 * 10**9},
            None,
        )
        for kind in work
    ]
    oracle, ours, theirs = (row(each, entries, [], turns, batch=6) for each in entries)
    assert ours["ratio"] == {"median": 4.0, "low": 4.0, "high": 4.5}
    assert ours["ratio_against"] == {"median": 2.0, "low": 2.0, "high": 2.5}
    assert theirs["ratio"] == {"median": 2.0, "low": pytest.approx((5 / 3 + 2) / 2), "high": 2.0}
    assert (oracle["ratio"]["median"], oracle["deviation"], oracle["psnr"]) == (1.0, 0.0, None)
    assert (ours["seconds"]["median"], ours["pairs_per_second"], ours["rounds"]) == (1.0, 6.0, [1.0, 2.0, 1.0])
    assert ours["gflops"] == {"plain": spread([8.0, 4.0, 8.0]), "executed": spread([2.0, 1.0, 2.0])}
    assert ours["deviation"] == pytest.approx(0.1)
    # Of the image as it is written, cut to [0, 1]: two of its four values differ.
    assert ours["psnr"] == pytest.approx(20 + 10 * np.log10(2), abs=1e-5)


@pytest.mark.parametrize("model", ["ehdran", "dilran"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_oracle_fuses_as_the_plain_modules_by_six_convolutions(model: str, channels_last: bool) -> None:
    sources = [torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    plain, oracle = fusekit.load(model, optimize=False), fusekit.load(model)
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
    weights = theirs.fuse_with_weights(features)[1]  # type: ignore[union-attr]
    expected = ours.fuse_with_weights(features)[1]
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
    assert choose(network, network.choose_rule("sfnn"), sources) == Choices(True, 4)
    seconds = iter([1.0, 1.5, 1.0, 1.5])
    assert choose(network, network.choose_rule("mean"), sources) == Choices(False, 4)


def test_operations_of_large_images_are_counted_on_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sources = fusekit.load("dilran", optimize=False), [torch.rand(2, 1, 32, 48)] * 2
    whole = count_operations(network, sources)
    monkeypatch.setattr(speed_rates, "_PART", 16)
    assert count_operations(network, sources) == whole


def test_operations_of_the_networks() -> None:
    sources, pixels = [torch.rand(1, 1, 32, 32)] * 2, 32 * 32
    plain = count_operations(fusekit.load("ehdran", optimize=False), sources)
    assert plain == 2 * pixels * (2 * ENCODE + DECODE)
    assert count_operations(fusekit.load("ehdran"), sources) < plain / 2
    for probe in probes(CPU, torch.float32):
        probe.work()
        assert probe.operations == {"convolution": 2 * 9 * 64 * 64 * 256**2, "product": 2 * 1024**3}[probe.name]


@pytest.mark.parametrize(
    ("model", "dtype", "encode", "decode"),
    [
        ("ehdran", "float32", 115_632, 27_936),
        ("ehdran", "bfloat16", 207_792, 55_584),
        ("dilran", "float32", 60_720, None),
        ("dilran", "bfloat16", 116_016, None),
    ],
)
def test_counts_of_the_page(model: str, dtype: str, encode: int, decode: int | None) -> None:
    """What runs are these counts, and the margins of tiles."""
    page = (Path(__file__).parents[1] / "docs" / "speed.md").read_text(encoding="utf-8")
    network = fusekit.load(model, dtype=dtype)
    sources = [torch.rand(1, 1, 128, 256).to(next(network.parameters()).dtype)]
    alone, both = count_encoding(network, sources[0]), count_operations(network, sources)
    assert f"{encode:,}" in page
    assert encode <= alone / (2 * 128 * 256) < 1.09 * encode
    if decode is not None:
        assert f"{decode:,}" in page
        assert decode <= (both - alone) / (2 * 128 * 256) < 1.12 * decode


def count_encoding(network: FusionModel, source: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.encode(source)  # type: ignore[operator]
    return counter.get_total_flops()


def test_results_say_everything_of_everyone(found: dict[str, Any]) -> None:
    found = json.loads(json.dumps(found, allow_nan=False))
    assert (found["schema"], found["rounds"], found["against"]) == (SCHEMA, 2, "max_fuser:fuse")
    assert found["machine"]["processor"] == processor_name()
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert {"fusekit", "torch", "numpy", "python"} <= set(found["versions"])
    (only,) = found["races"]
    assert (only["model"], only["rule"], only["size"], only["batch"]) == ("ehdran", "sfnn", [32, 40], 2)
    assert set(only["oracle"]) == {"channels_last", "decomposition_threads"}
    assert [(each["name"], each["dtype"]) for each in only["rates"]] == [
        ("convolution", "float32"),
        ("product", "float32"),
        ("convolution", "bfloat16"),
        ("product", "bfloat16"),
    ]
    assert all(each["median"] > 0 for each in only["files"].values())
    rows = {each["who"]: each for each in only["rows"]}
    assert list(rows) == [
        "oracle",
        "composed float32",
        "composed bfloat16",
        "plain float32",
        "plain bfloat16",
        "max_fuser:fuse",
    ]
    for each in rows.values():
        assert len(each["rounds"]) == 2
        assert each["ratio"]["low"] <= each["ratio"]["median"] <= each["ratio"]["high"]
        assert each["pairs_per_second"] == pytest.approx(2 / each["seconds"]["median"])


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
        limits = (1e-4, 80) if "float32" in who or who == "oracle" else (0.1, 50)
        assert each["deviation"] <= limits[0]
        assert each["psnr"] is None or each["psnr"] > limits[1]
    assert rows["plain float32"]["operations"]["executed"] == rows["plain float32"]["operations"]["plain"]
    assert rows["oracle"]["operations"]["executed"] > rows["oracle"]["operations"]["plain"]
    assert rows["composed float32"]["operations"]["executed"] < rows["plain float32"]["operations"]["executed"] / 2


def test_tables_show_the_results(found: dict[str, Any]) -> None:
    text = markdown(found, "the command")
    first = text.splitlines()[0]
    assert first.startswith("`the command`: 2 rounds on the embedded sample, 1 thread of ")
    assert "By its trials, the oracle ran channels" in first
    for table in tables(found):
        assert f"**{table.title}.**" in text
    lines = [line for line in text.splitlines() if line.startswith("| ehdran sfnn 32×40 2 a call | ")]
    assert len(lines) == 3 * 6
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {len(table.columns) + 3 for table in tables(found)}
    assert "times as fast as `max_fuser:fuse`" in text
    assert "2 threads of" in caption({**found, "machine": {**found["machine"], "threads": 2}}, "")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.000123, "0.000123"), (9.876, "9.88"), (54.321, "54.3"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_shares_are_per_cent() -> None:
    assert (percent(0.0312), percent(0.31), percent(1.0)) == ("3.1 %", "31 %", "100 %")


def test_memory_is_that_of_a_process(adapter: str) -> None:
    case = Case("ehdran", size=(32, 32))
    memory = speed_memory.of_process(case, Entrant("oracle"), 1)
    assert memory is not None
    assert 50 * 2**20 < memory["before"] <= memory["peak"] < 2 * 2**30
    assert speed_memory.of_process(case, Entrant("against", target=f"{adapter}:fails"), 1) is None


def test_memory_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    assert 50 * 2**20 < speed_memory._resident("VmHWM") < 2**40
    monkeypatch.setattr(Path, "read_text", refuse)
    assert 50 * 2**20 < speed_memory._resident("VmHWM") < 2**40
    assert speed_memory._resident("VmRSS") == 0


def test_choices_go_to_load_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    model = fusekit.load("ehdran")

    def load(name: str, **options: Any) -> Any:
        calls.append({"name": name, **options})
        return model

    monkeypatch.setattr(speed_entrants, "load", load)
    small = Case("ehdran.ct-mri", device="cpu", size=(16, 16))
    prepare(small, Entrant("ours", "composed", "auto", "triton"), small.pair())
    prepare(small, Entrant("ours", "plain", "float32"), small.pair())
    common = {"name": "ehdran.ct-mri", "device": "cpu"}
    assert calls[0] == {**common, "dtype": "auto", "optimize": True, "backend": "triton"}
    assert calls[1] == {**common, "dtype": "float32", "optimize": False}


@pytest.mark.parametrize(("kind", "batch", "as_fused"), [("ours", 1, True), ("ours", 2, False), ("oracle", 1, False)])
def test_one_pair_of_ours_is_fused_as_the_pipeline_does(
    kind: str, batch: int, as_fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def run_model(*arguments: Any) -> Any:
        calls.append(arguments)
        return pipeline.run_model(*arguments)

    monkeypatch.setattr(speed_entrants, "run_model", run_model)
    case = Case("ehdran", "max", "cpu", (20, 24), batch)
    ready = prepare(case, Entrant(kind), case.pair())
    images = ready.fuse()
    assert bool(calls) is as_fused
    assert images.shape == (batch, 1, 20, 24)
    assert torch.allclose(images, ready.network.fuse(ready.sources, "max"), atol=1e-5)  # type: ignore[union-attr]


def test_what_a_rule_gathers_from_tiles_is_its_stage() -> None:
    clock, rule = Clock(), build_rule("max")
    survey = SimpleNamespace(add=clock.takes(3.0), finish_pass=clock.takes(2.0))
    rule.survey = lambda count: survey if count else None  # type: ignore[attr-defined]
    ready = Ready(lambda: torch.zeros(1), fusekit.load("ehdran"), rule, [], {})
    stopwatch = Stopwatch(CPU, clock)
    watch(ready, stopwatch)

    def work() -> None:
        found = rule.survey(2)  # type: ignore[attr-defined]
        found.add()
        found.add()
        found.finish_pass()
        clock.now += 1.0

    assert stopwatch.time(work) == (9.0, {"rule": 8.0})
    assert rule.survey(0) is None  # type: ignore[attr-defined]


def test_records_name_the_processor() -> None:
    assert machine(fusekit.load("ehdran", device="cpu"))["device_name"] == processor_name()


def test_command_writes_what_it_is_asked_for(tmp_path: Path, adapter: str) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed tiny: begin -->\nold\n<!-- speed tiny: end -->\nafter\n")
    outputs = ["--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md", "--docs", page, "--part", "tiny"]
    images = [write_texture(tmp_path / f"{name}.png", seed) for seed, name in enumerate("ab")]
    arguments = ["--models", "ehdran", "dilran", "--sizes", "16", "24x20", "--rounds", 1, "--warm-up", 1]
    arguments += [
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
    assert "dilran max 24×20: where the time goes" in done.out
    assert "in its processor time" in done.out
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


def test_command_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs the extra bench")
    plot = tmp_path / "speed.svg"
    done = run_cli(["bench", "speed", "--sizes", 16, "--rounds", 1, "--no-memory", "--no-oracle", "--plot", plot])
    assert (done.code, done.err) == (0, "")
    assert plot.read_text().lstrip().startswith("<?xml")
    assert "× oracle" not in done.out


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
def test_choices_that_cannot_be_used(arguments: list[str], message: str, adapter: str, tmp_path: Path) -> None:
    sizes = [] if "--sizes" in arguments else ["--sizes", "16"]
    done = run_cli(["bench", "speed", "--no-oracle", "--no-memory", "--json", "out.json", *sizes, *arguments])
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
