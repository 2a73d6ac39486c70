"""``fusekit bench speed --compare``: what is found of each model, what a failure costs, what is kept, the table."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.cli import run_cli
from helpers.threads import use_one_thread

import fusekit
from fusekit.errors import FusekitWarning, OptionError, UnknownNameError, WeightsError
from fusekit.models.locate import locate
from fusekit.registry.discovery import registries
from fusekit_bench.paper import paper_tables
from fusekit_bench.publish import to_csv, to_json
from fusekit_bench.requests import Speed
from fusekit_bench.speed import cases, models, runner
from fusekit_bench.speed.cases import Case, Entrant, load_form
from fusekit_bench.speed.models import Candidate, candidates, compare
from fusekit_bench.speed.models_table import result
from fusekit_bench.speed.runner import measure
from fusekit_bench.speed.workers import Job, LocalWorker

use_one_thread()
SIZES = [(16, 20), (24, 24)]


def request(**changes: Any) -> Speed:
    given: dict[str, Any] = {"models": ["pixel:mean", "ifcnn", "dwt", "composed"], "sizes": SIZES, "devices": ["cpu"]}
    return Speed(**{**given, "compare": True, "rounds": 2, "warm_up": 1, "threads": 1, **changes})


def spread(value: float) -> dict[str, float]:
    return {"median": value, "low": value, "high": value}


def without_weights(patch: pytest.MonkeyPatch) -> None:
    """Let ``ifcnn`` come without trained weights, whether it does or not."""

    def refused(name: str, **options: Any) -> Any:
        if name == "ifcnn":
            raise WeightsError("the model 'ifcnn' comes without trained weights")
        return fusekit.load(name, **options)

    patch.setattr(cases, "load", refused)
    patch.setattr(cases, "locate", lambda name, weights: locate(name, weights)._replace(weights=None))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        without_weights(patch)
        return compare(request(), recruit=LocalWorker)


def test_all_is_every_registered_model_with_the_default_one_first() -> None:
    named = candidates(["all"])
    assert named[0] == Candidate("ehdran")
    assert sorted(each.model for each in named) == sorted(registries().models.names())
    several = candidates(["ehdran:sfnn", "dilran", "all"])
    assert several[:3] == [Candidate("ehdran", "sfnn"), Candidate("dilran"), Candidate("ehdran")]
    assert len(several) == len(named) + 1
    with pytest.raises(UnknownNameError, match="did you mean 'ehdran'"):
        candidates(["ehdrann"])
    with pytest.raises(UnknownNameError, match="unknown fusion rule"):
        candidates(["ehdran:sfn"])


def test_rows_have_what_is_known_of_each_model(found: dict[str, Any]) -> None:
    found = json.loads(to_json(found))
    rows = {(row["name"], tuple(row["size"])): row for row in found["rows"]}
    assert len(rows) == 4 * 2
    first, network = rows["pixel · mean", (16, 20)], rows["ifcnn", (16, 20)]
    assert (first["weights"], first["parameters"], first["operations"], first["rule"]) == ("", 0, 0, "mean")
    assert first["ratio"] == spread(1.0)
    assert (network["weights"], network["rule"], network["parameters"]) == ("initial", "max", 83_587)
    assert network["operations"] > 2 * 2 * 16 * 20 * 64 * 64 * 9, "two sources, a 64→64 3×3 convolution each at least"
    assert "operations" not in rows["ifcnn", (24, 24)], "they are counted at the smallest size"
    for row in (first, network, rows["dwt", (24, 24)]):
        assert len(row["rounds"]) == 2
        assert 0 < row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
        assert row["memory"] > 50 << 20
    assert rows["composed", (16, 20)]["failed"].startswith("the model 'composed' is made of an encoder and a decoder")


def test_a_failure_costs_its_own_row_and_the_first_ones_is_an_error() -> None:
    class Failing(LocalWorker):
        def run(self) -> Any:
            if self.job.case.model == "dwt":
                raise OptionError("no such\nthing")
            return super().run()

    rows = compare(request(models=["pixel", "dwt", "pca"], sizes=SIZES[:1]), recruit=Failing)["rows"]
    assert [row.get("failed") for row in rows] == [None, "no such thing", None]
    with pytest.raises(OptionError, match="no such"):
        compare(request(models=["dwt", "pixel"], sizes=SIZES[:1]), recruit=Failing)
    with pytest.raises(OptionError, match="name both"):
        compare(request(models=["composed", "pixel"], sizes=SIZES[:1]), recruit=LocalWorker)


def test_a_killed_run_goes_on_and_what_failed_is_tried_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def noted(job: Job) -> LocalWorker:
        asked.append(job.case.model)
        if killed and job.case.model == "pca":
            raise KeyboardInterrupt
        return LocalWorker(job)

    killed, these = True, request(models=["pixel", "composed", "dwt", "pca"], sizes=SIZES[:1], keep=tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        compare(these, recruit=noted)
    killed = False
    asked.clear()
    rows = compare(these, recruit=noted)["rows"]
    assert asked == ["pixel", "composed", "pca"], "the first one races again, with what is left"
    asked.clear()
    again = compare(these, recruit=noted)["rows"]
    assert [row for row in again if "failed" not in row] == [row for row in rows if "failed" not in row]
    compare(request(models=["pixel", "pca"], sizes=SIZES[:1], keep=tmp_path / "kept", rounds=1), recruit=noted)
    assert asked[-2:] == ["pixel", "pca"], "other choices are other rows"


def test_rounds_are_as_many_as_patience_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    warmed: list[str] = []

    class Noted(LocalWorker):
        def warm_up(self, times: int) -> None:
            warmed.append(self.job.case.model)
            super().warm_up(times)

    these = request(models=["pixel", "dwt"], sizes=SIZES[:1], rounds=7, patience=45)
    rows = compare(these, recruit=Noted)["rows"]
    # Each look at the clock is 10 s after the last one: a first fusion of 10 s, and rounds of 10 s.
    assert [len(row["rounds"]) for row in rows] == [2, 2]
    assert warmed == ["pixel", "dwt"]
    text = result(compare(request(models=["pixel", "dwt"], rounds=7, patience=25), recruit=Noted), "x").text
    assert "(1 of 7 rounds)" in text
    assert warmed[2:] == ["pixel"] * 2, "a slow model is not warmed up"


def test_the_table_stands_beside_the_paper(found: dict[str, Any]) -> None:
    data, text, rows = result(found, "the command")
    assert text.startswith("`the command`: 2 rounds on the embedded sample resampled, 1 thread of ")
    head = next(line for line in text.splitlines() if line.startswith("| model"))
    assert head == (
        "| model | weights | parameters (M) | GFLOP at 16×20 | seconds at 16×20 | times `pixel · mean` | peak memory "
        "(MiB) at 16×20 | seconds at 24×24 | times `pixel · mean` | peak memory (MiB) at 24×24 | "
        "*paper: parameters (M)* | *paper: seconds* | *paper: times EH-DRAN* |"
    )
    line = next(line for line in text.splitlines() if line.startswith("| ifcnn · max | initial | 0.08 | "))
    assert line.endswith("| *0.08* | *0.89* | *0.71* |")
    assert "| pixel · mean | none | 0 | 0 | " in text
    assert "| composed" not in text
    assert "- composed at 16×20 is not measured: the model 'composed' is made of an encoder and a decoder; name" in text
    assert data is found
    assert to_csv(rows).startswith("name,model,rule,size,")


def test_words_follow_from_the_rows() -> None:
    row = {"size": [16, 16], "rule": None, "rounds": [1.0], "memory": 1 << 20, "weights": "", "form": "plain"}
    seconds = {"ehdran": (1.0, 1), "ehdran:sfnn": (2.0, 500_000), "ifcnn": (0.5, 83_587), "swinfusion": (24.0, 973_000)}
    rows = [
        {**row, "name": name, "model": name.partition(":")[0], "rule": name.partition(":")[2] or "max"}
        | {"parameters": count, "seconds": spread(ratio), "ratio": spread(ratio)}
        for name, (ratio, count) in seconds.items()
    ]
    facts = {"processor": "P", "cores": 2, "threads": 1, "load_average": None}
    about = {"rounds": 1, "clock": "wall", "images": "given", "fit": "resample", "device": "cpu", "first": "ehdran"}
    found = {"rows": rows, "machine": facts, "versions": {"torch": "2", "fusekit": "1"}, "code": "abc", **about}
    items = [line for line in result(found, "x").text.splitlines() if line.startswith("- ")]
    assert items == [
        "- By the paper's seconds EH-DRAN is faster than SwinFusion (1.04×) and slower than IFCNN (1.42×).",
        "- Millions of parameters as many as in the paper: IFCNN, SwinFusion, EH-DRAN.",
        "- Here, at 16×16, ehdran · sfnn is faster than SwinFusion (12.0×) and slower than IFCNN (4.00×).",
    ]


def test_the_papers_models_are_registered_and_whole() -> None:
    quoted = paper_tables()
    assert set(quoted["models"]) == set(quoted["speed"]) == set(quoted["tables"]["MRI-CT"])
    assert set(quoted["models"].values()) <= set(registries().models.names())
    assert quoted["speed"]["MRSCFusion"] == {"parameters": 23.0, "seconds": 2.85}


def test_a_race_of_other_models_has_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    without_weights(monkeypatch)
    these = Speed(models=["ifcnn"], sizes=[(16, 20)], devices=["cpu"], rounds=1, warm_up=1, threads=1, memory=False)
    with pytest.warns(FusekitWarning, match="ifcnn: the authors' order of operations is known of ehdran and dilran"):
        found = measure(these, recruit=LocalWorker)
    (race,) = found["races"]
    assert [row["who"] for row in race["rows"]] == ["composed float32"]
    assert (race["initial"], race["rows"][0]["ratio"]) == (True, None)
    from fusekit_bench.speed.table import result as of_races

    assert "| ifcnn max 16×20 initial weights | composed float32 |" in of_races(found, "x").text
    with pytest.raises(UnknownNameError, match="unknown weights of 'ifcnn'"):
        load_form(Case("ifcnn.absent", device="cpu"), Entrant("ours"))


@pytest.mark.slow
def test_the_command_writes_table_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ProcessWorker", LocalWorker)
    page = tmp_path / "page.md"
    page.write_text("<!-- speed models: begin -->\n<!-- speed models: end -->\n")
    words = ["bench", "speed", "--models", "pixel", "dwt", "--compare", "--sizes", 16, "--rounds", 1, "--threads", 1]
    words += ["--keep", tmp_path / "kept", "--docs", page, "--part", "models", "--json", tmp_path / "a.json"]
    done = run_cli(words)
    assert (done.code, done.err) == (0, "")
    assert "`fusekit bench speed --models pixel dwt --compare --sizes 16 --threads 1 --rounds 1`" in done.out
    assert done.out.strip() in page.read_text()
    assert json.loads((tmp_path / "a.json").read_text())["schema"] == models.SCHEMA
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "all", "--rules", "max"], "--rules: choices of a race with the reference"),
        (["--compare", "--no-tuned", "--batch", "2"], "--batch, --no-tuned: choices of a race"),
        (["--compare", "--dtypes", "float32", "bfloat16"], "several --dtypes"),
        (["--keep", "kept"], "--keep: choices of a comparison; give --compare"),
        (["--patience", "5"], "--patience: choices of a comparison"),
        (["--compare", "--patience", "0"], "--patience is 1 or more"),
        (["--compare", "--plot", "a.svg"], "--plot draws the stages of races"),
    ],
)
def test_choices_that_cannot_apply(arguments: list[str], message: str) -> None:
    done = run_cli(["bench", "speed", *arguments])
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
