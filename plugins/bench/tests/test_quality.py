"""``fusekit bench quality``: what is rated, what the table says, what is kept, and what is computed again."""

from __future__ import annotations

import csv
import json
import math
import statistics
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, texture, write_texture
from helpers.datasets import write_data
from helpers.forked import fork_what_is_spawned

import fusekit
from fusekit.cases.case import Case
from fusekit.cases.datasets import Dataset
from fusekit.errors import FusekitError, FusekitWarning, InputError, OptionError, UnknownNameError
from fusekit.evaluation.rate import evaluate, evaluate_detailed
from fusekit.images.color import luminance
from fusekit.images.files import read_image
from fusekit.metrics.sets import PAPER
from fusekit.models.base import EncoderDecoder
from fusekit.pipeline import fuse
from fusekit.registry.discovery import registries
from fusekit.weights.store import save_weights
from fusekit_bench.paper import paper_tables
from fusekit_bench.publish import to_csv, to_json
from fusekit_bench.quality import methods, runner, scores
from fusekit_bench.quality.export import result
from fusekit_bench.quality.figures import shown_pairs
from fusekit_bench.quality.methods import Measure, Method, parse_measures, parse_methods
from fusekit_bench.quality.published import Published
from fusekit_bench.quality.runner import run
from fusekit_bench.quality.scores import fused_by_rules
from fusekit_bench.quality.table import Row, Table, by_rank, summary
from fusekit_bench.requests import Quality

pytest.importorskip("pandas", reason="the table needs the extra bench")

METHODS = ("ehdran:sfnn", "ehdran:max", "pixel:max", "laplacian-pyramid")
METRICS = ("float:psnr", "qabf", "vif", "scd")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def table(data: Path, output: Path) -> Table:
    return run(Quality(data, output, methods=METHODS, metrics=METRICS, device="cpu"))


@pytest.fixture
def fusings() -> Iterator[list[tuple[str, list[str | None]]]]:
    """The model and rules of each call that fuses, in this process."""
    calls = []
    real = scores.fused_by_rules

    def noted(network, units, rules):
        calls.append((network.spec.id, list(rules)))
        return real(network, units, rules)

    with mock.patch.object(scores, "fused_by_rules", noted):
        yield calls


def test_rules_share_encodings_and_fuse_as_the_model_does() -> None:
    units = [texture(seed, 27, 22, depth="float32") for seed in (1, 2)]
    sources = [torch.from_numpy(unit)[None, None] for unit in units]
    rules = registries().fusion_rules.names()
    assert len(rules) > 10
    model = fusekit.load("ehdran", device="cpu")
    assert isinstance(model, EncoderDecoder)
    with mock.patch.object(model, "encode", side_effect=model.encode) as encode:
        shared = list(fused_by_rules(model, units, rules))
    assert encode.call_count == 2
    for name, choices, outputs in (
        ("ehdran", rules, shared),
        ("pixel", ["mean"], None),
        ("laplacian-pyramid", [None], None),
    ):
        model = fusekit.load(name, device="cpu")
        for rule, output in zip(choices, outputs or fused_by_rules(model, units, choices), strict=True):
            with torch.inference_mode():
                expected = model.fuse(sources, rule)[0, 0].numpy()
            np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6, err_msg=f"{name} {rule}")


def test_ratings_are_of_the_images_that_the_views_promise(table: Table, data: Path) -> None:
    row = next(each for each in table.rows if each.method.name == "ehdran · max")
    paths = [data / folder / "3001.png" for folder in ("pet", "mri")]
    ratings = row.ratings[""]["3001"]
    model = fusekit.load("ehdran", weights="ct-mri", device="cpu")
    written = fuse(paths, model, rule="max", color="gray").image
    assert written.dtype == np.uint8
    assert {name: ratings[name] for name in ("qabf", "vif", "scd")} == evaluate_detailed(
        paths, written, ["qabf", "vif", "scd"]
    )
    pet, mri = (read_image(path).pixels for path in paths)
    units = [_stretched(luminance(pet.astype(np.float64))), _stretched(mri.astype(np.float64))]
    with torch.inference_mode():
        raw = model.fuse([torch.from_numpy(unit)[None, None] for unit in units], "max")[0, 0].numpy()
    expected = evaluate(units, _stretched(raw.clip(0, 1)), ["psnr"])["psnr"]
    assert ratings["float:psnr"]["value"] == pytest.approx(expected, rel=1e-5)


def _stretched(values: np.ndarray) -> np.ndarray:
    return ((values - values.min()) / (values.max() - values.min())).astype(np.float32)


def mean(row: Row, measure: Measure, part: str = "") -> float:
    return float(summary([row], [measure], part).at[row.name, ("mean", measure.name)])


def test_the_table_has_means_deviations_ranks_and_the_best(table: Table) -> None:
    names = ["ehdran · sfnn", "ehdran · max", "pixel · max", "laplacian-pyramid"]
    assert [row.name for row in table.rows] == names
    assert [measure.part for measure in table.measures] == ["value", "value", "worst", "value"]
    row, vif = table.rows[0], Measure("vif")
    values = [min(image["vif"]["per_source"]) for image in row.ratings[""].values()]
    assert len(values) == 3
    found = summary(table.rows, table.measures)
    assert list(found.index) == names
    assert found.at[row.name, ("mean", "vif")] == pytest.approx(statistics.fmean(values))
    assert found.at[row.name, ("std", "vif")] == pytest.approx(statistics.stdev(values))
    means = [mean(each, vif) for each in table.rows]
    assert list(found["mean"]["vif"]) == list(found["gain"]["vif"]) == means
    assert list(found["rank"]["vif"].sort_values().index) == [names[place] for place in np.argsort(means)[::-1]]
    assert by_rank(table.rows, [vif])[0] is table.rows[int(np.argmax(means))]
    again = Row(row.dataset, Method("again", None), row.ratings)
    assert list(summary([row, again], [vif])["rank"]["vif"]) == [1.5, 1.5]


def test_lower_is_better_where_the_metric_says_so(data: Path, output: Path) -> None:
    table = run(Quality(data, output, methods=["pixel:max", "pixel:mean"], metrics=["rmse"], device="cpu"))
    rmse = Measure("rmse")
    assert (rmse.arrow, rmse.part) == ("↓", "worst")
    found = summary(table.rows, [rmse])
    (winner,) = found.index[found["rank"]["rmse"] == 1]
    assert found.at[winner, ("mean", "rmse")] == min(found["mean"]["rmse"])
    assert found.at[winner, ("gain", "rmse")] == max(found["gain"]["rmse"])
    assert table.ranked == []
    assert "ranks" not in result(table, "command").text


def test_every_row_names_weights_commit_and_data(table: Table) -> None:
    data, _, rows = result(table, "the command")
    results = json.loads(to_json(data))
    assert results["command"] == "the command"
    facts = results["rows"][0]["replicates"][0]["facts"]
    weights = fusekit.load("ehdran", device="cpu").provenance.weights
    assert facts["weights"]["sha256"] == weights.sha256
    assert facts["commit"] == results["commit"] == table.commit
    assert facts["data"]["pairs"] == 3
    assert facts["data"]["names"] == "lists.json#/test"
    assert len(facts["data"]["sha256"]) == 64
    assert facts["rule"]["name"] == "sfnn"
    assert {"device", "versions", "normalization", "output_policy"} <= set(facts)
    lines = list(csv.DictReader(to_csv(rows).splitlines()))
    assert [line["weights"] for line in lines] == [weights.sha256, weights.sha256, "", ""]
    assert {line["data"] for line in lines} == {facts["data"]["sha256"]}
    assert float(lines[2]["vif (worst) mean"]) == pytest.approx(mean(table.rows[2], Measure("vif")))
    assert float(lines[2]["vif mean"]) == pytest.approx(mean(table.rows[2], Measure("vif"), "value"))


def test_markdown_stands_beside_the_paper(table: Table) -> None:
    lines = result(table, "the command").text.splitlines()
    assert lines[0].startswith("Made by `the command`, commit `")
    head = next(line for line in lines if line.startswith("| method"))
    assert head == (
        "| method | psnr (paper) ↑ | qabf ↑ | vif, worse source ↑ | scd ↑ | ranks by qabf, vif, scd | weights |"
    )
    assert "| *paper: EH-DRAN* | *16.830 ± 0.490* |  |  |  |  |  |" in lines
    columns = [line.split(" | ") for line in lines if line.startswith(("| ehdran", "| pixel", "| laplacian"))]
    assert [sum("**" in row[index] for row in columns) for index in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert "The paper's rows are quoted for orientation" in lines[-1]


def test_copies_are_rated_and_ranked_against_no_one(table: Table, data: Path) -> None:
    assert [row.name for row in table.copies] == ["a copy of PET", "a copy of MRI"]
    paths = [data / folder / "3001.png" for folder in ("pet", "mri")]
    mri = read_image(paths[1]).pixels
    expected = evaluate_detailed(paths, mri, ["qabf", "vif", "scd"])
    ratings = table.copies[1].ratings[""]["3001"]
    assert {name: ratings[name] for name in expected} == expected
    assert ratings["float:psnr"]["value"] == math.inf
    found = result(table, "x")
    assert "| *a copy of MRI* | *inf* | *" in found.text
    assert "- A mere copy of one source would be first in psnr (paper) (a copy of MRI)" in found.text
    copies = json.loads(to_json(found.data))["copies"]
    assert [each["method"] for each in copies] == ["a copy of PET", "a copy of MRI"]
    assert copies[0]["replicates"][0]["images"]["3001"]["float:psnr"]["value"] > 50, "a colour's luminance is rounded"


def test_a_dataset_that_asks_for_no_weights_has_those_of_other_images(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", weights=None, roles=["visible", "infrared"], paper=None)
    request = Quality(data, tmp_path / "out", methods=["ehdran:max", "pixel:max"], metrics=["scd"], device="cpu")
    with pytest.warns(FusekitWarning, match=r"Tiny: ehdran have weights of other images; --weights MODEL=FILE gives"):
        table = run(request)
    assert [row.method.weights for row in table.rows] == ["ct-mri", None]
    assert "- Trained on other images than visible and infrared: ehdran (on CT and MRI)." in result(table, "x").text
    data = write_data(tmp_path / "data", weights=None, roles=["PET", "MRI"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = run(request)
    assert table.rows[0].method.weights == "pet-mri", "weights of what it shows come first"


def test_the_papers_tables_are_whole() -> None:
    quoted = paper_tables()
    assert quoted["metrics"] == list(PAPER)
    for tables in (quoted["tables"], quoted["ablation"]):
        for rows in tables.values():
            assert all(len(figures) == 5 and all(len(pair) == 2 for pair in figures) for figures in rows.values())
    assert [pair[0] for pair in quoted["tables"]["MRI-SPECT"]["EH-DRAN"]] == [21.455, 0.736, 0.876, 0.843, 11.970]
    assert quoted["ablation"]["MRI-CT"]["base + L_grad + DRGO"] == quoted["tables"]["MRI-CT"]["EH-DRAN"]


def test_a_second_run_computes_nothing(table: Table, data: Path, output: Path, fusings: list[object]) -> None:
    again = run(Quality(data, output, methods=METHODS, metrics=METRICS, device="cpu"))
    assert fusings == []
    assert to_json(result(again, "x").data) == to_json(result(table, "x").data)


def test_a_killed_run_goes_on_where_it_stopped(data: Path, tmp_path: Path, fusings: list[object]) -> None:
    request = Quality(data, tmp_path, methods=["pixel:max"], metrics=["scd"], device="cpu")

    class Killed:
        def rating(self, title: str, total: int):
            assert (title, total) == ("tiny", 3)

            def stop() -> None:
                raise KeyboardInterrupt

            return stop

    with pytest.raises(KeyboardInterrupt):
        run(request, Killed())  # type: ignore[arg-type]
    assert len(fusings) == 1
    run(request)
    assert len(fusings) == 3


def test_only_what_changed_is_computed_again(data: Path, tmp_path: Path, fusings: list[object]) -> None:
    data = write_data(tmp_path / "data")
    weights = tmp_path / "own.safetensors"
    model = fusekit.load("ehdran", device="cpu")
    save_weights(model, weights, model.header)
    request = Quality(
        data,
        tmp_path / "out",
        methods=["ehdran:max", "pixel:max"],
        metrics=["scd"],
        weights={"ehdran": str(weights)},
        device="cpu",
    )
    before = run(request)
    assert fusings == [("ehdran", ["max"]), ("pixel", ["max"])] * 3
    fusings.clear()
    with torch.no_grad():
        next(model.decoder.parameters()).mul_(0.5)
    save_weights(model, weights, model.header)
    after = run(request)
    assert fusings == [("ehdran", ["max"])] * 3
    assert mean(before.rows[0], Measure("scd")) != mean(after.rows[0], Measure("scd"))
    assert before.rows[1].ratings == after.rows[1].ratings
    fusings.clear()
    write_texture(data / "mri" / "3000.png", 77, 25, 22)
    run(request)
    assert fusings == [("ehdran", ["max"]), ("pixel", ["max"])]
    fusings.clear()
    (tmp_path / "out" / "cache" / "tiny" / "3002.json").write_text('{"sour')
    run(Quality(**{**request.__dict__, "metrics": ["scd", "qabf"]}))
    assert len(fusings) == 6
    stored = json.loads((tmp_path / "out" / "cache" / "tiny" / "3002.json").read_text())
    assert all(len(ratings) == 2 for ratings in stored["ratings"].values())


def test_other_code_is_another_result(table: Table, data: Path, output: Path, fusings: list[object]) -> None:
    with mock.patch.object(methods, "code_digest", return_value="other"):
        run(Quality(data, output, methods=["pixel:max"], metrics=["scd"], device="cpu"))
    assert fusings == [("pixel", ["max"])] * 3


@pytest.mark.slow
@pytest.mark.process
def test_processes_give_the_same_table_and_our_errors(
    table: Table, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_what_is_spawned(monkeypatch)
    request = Quality(data, tmp_path / "out", methods=["pixel:max"], metrics=METRICS, device="cpu", jobs=2)
    assert run(request).rows[0].ratings == table.rows[2].ratings
    broken = write_data(tmp_path / "data")
    write_texture(broken / "mri" / "3001.png", 1, 30, 22)
    with pytest.raises(InputError, match=r"differ in size: .*3001\.png is 25×22"):
        run(Quality(**{**request.__dict__, "data": broken}))


def test_a_process_that_dies_is_an_error_of_ours() -> None:
    future: Future[tuple[str, runner.Ratings]] = Future()
    future.set_exception(BrokenProcessPool("died"))
    with pytest.raises(OptionError, match="use fewer --jobs"):
        list(runner._collected([future]))


def test_methods_and_measures_are_parsed() -> None:
    rules = registries().fusion_rules.names()
    assert parse_methods(["ehdran:*", "ehdran:max", "pixel", "laplacian-pyramid"]) == [
        *(Method("ehdran", rule) for rule in rules),
        Method("pixel", "max"),
        Method("laplacian-pyramid", None),
    ]
    assert parse_measures(["paper", "psnr", "float:qabf", "psnr"]) == [
        *(Measure(name, "float") for name in ("psnr", "ssim.padded", "fmi.edge", "fsim.ehdran", "en.float")),
        Measure("psnr"),
        Measure("qabf", "float"),
    ]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"methods": ["ehdram:max"]}, UnknownNameError, "unknown model 'ehdram'"),
        ({"methods": ["ehdran:maxx"]}, UnknownNameError, "unknown fusion rule 'maxx'"),
        ({"methods": ["laplacian-pyramid:max"]}, OptionError, "takes no rule"),
        ({"metrics": ["float:nothing"]}, UnknownNameError, "unknown metric 'nothing'"),
        ({"datasets": ["tinny"]}, UnknownNameError, "did you mean 'tiny'"),
        ({"protocol": "random"}, OptionError, "choose series or paper"),
        ({"protocol": "paper", "ablation": True}, OptionError, "leave out --protocol"),
        ({"protocol": "paper", "weights": {"ehdran": "x"}}, OptionError, "leave out --weights"),
        ({"jobs": 0}, OptionError, "1 or more"),
        ({"seeds": []}, OptionError, "at least one seed"),
    ],
)
def test_wrong_requests_are_refused(
    data: Path, tmp_path: Path, changes: dict[str, object], error: type[FusekitError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(Quality(**{"data": data, "output": tmp_path / "out", **changes}))  # type: ignore[arg-type]


def test_missing_weights_are_named_with_the_remedy(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", weights="xray")
    with pytest.raises(OptionError, match=r"no weights 'xray'.* --weights ehdran=FILE, or one of its own: ct-mri"):
        run(Quality(data, tmp_path / "out", methods=["ehdran"]))
    table = run(Quality(data, tmp_path / "out", methods=["ehdran:max"], metrics=["scd"], weights={"ehdran": "ct-mri"}))
    assert table.rows[0].method.weights == "ct-mri"


@pytest.mark.slow
def test_the_command_writes_tables_figures_and_docs(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figures need the extra bench")
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- quality tiny: begin -->\n<!-- quality tiny: end -->\nend\n")
    words = ["bench", "quality", "--data", data, "--device", "cpu", "-o", tmp_path / "out", "--docs", page]
    words += ["--methods", *METHODS, "--metrics", "qabf,vif", "scd", "--datasets", "tiny"]
    some = write_texture(tmp_path / "theirs" / "3001.png", 9, 25, 22).parent
    words += ["--fused", f"theirs={some}", "--part", "tiny"]
    code, out, err = run_cli(words)
    assert (code, err) == (0, "fusekit: rating tiny: 3\n")
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {
        "cache", "results.json", "table.md", "table.csv", "plot.svg", "plot.png", "page-tiny.png",
    }  # fmt: skip
    text = (folder / "table.md").read_text()
    assert text.strip() in out
    assert text.strip() in page.read_text()
    assert page.read_text().startswith("# Page\n<!-- quality tiny: begin -->\n\nMade by `fusekit bench quality ")
    assert "--methods ehdran:sfnn ehdran:max pixel:max laplacian-pyramid --metrics qabf vif scd" in text
    assert str(tmp_path) not in text
    grid = read_image(folder / "page-tiny.png").pixels[..., :3].astype(int)
    assert grid.max(2).std() > 20
    assert (grid.max(2) - grid.min(2)).max() > 50, "a colour source makes coloured images"
    kept = [path for path in (folder / "cache" / "tiny").iterdir() if path.suffix == ".png"]
    assert len(kept) == 3 * len(METHODS), "three pairs by every method"
    drawn = (folder / "plot.svg").read_text()
    assert all(f"<!-- {method} -->" in drawn for method in ("ehdran · max", "pixel · max", "laplacian-pyramid"))


def test_pairs_are_shown_that_most_have_images_of() -> None:
    names = [str(number) for number in range(10)]

    def row(*pairs: str) -> Row:
        files = {pair: Path(pair) for pair in pairs}
        theirs = Method("", None, label="x", published=Published(Path(), files, ""))
        method = theirs if pairs else Method("pixel", "max")
        return Row(Dataset("d", Path(), ("a", "b")), method, cases=[Case(name, (), (), "") for name in pairs or names])

    assert shown_pairs([row(), row("3", "5", "7", "8"), row("5", "7", "8")]) == ["5", "7", "8"]
    assert shown_pairs([row(), row("3", "5", "7", "8"), row("5", "7")]) == ["3", "7", "8"]
    assert shown_pairs([row()]) == ["1", "5", "8"]
    assert shown_pairs([row("1", "2")]) == ["1", "2"]


def test_a_page_without_markers_is_refused_before_anything_is_computed(data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    words = ["bench", "quality", "--data", data, "--methods", "pixel", "-o", tmp_path / "out", "--docs", page]
    code, out, err = run_cli(words)
    assert (code, out) == (2, "")
    assert "has no lines <!-- quality series: begin -->" in err
    assert not (tmp_path / "out").exists()


def test_lists_come_in_three_forms(data: Path, tmp_path: Path) -> None:
    tables = []
    for number, words in enumerate(
        (["--metrics", "scd", "qabf"], ["--metrics", "scd,qabf"], ["--metrics=scd", "--metrics", "qabf"])
    ):
        output = tmp_path / str(number)
        command = ["bench", "quality", *words, "--data", data, "--methods", "pixel:max", "--no-figures", "-o", output]
        assert run_cli(command).code == 0
        assert not (output / "plot.svg").exists()
        tables.append((output / "table.csv").read_text())
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "a"], "--seeds takes whole numbers"),
        (["--weights", "ehdran"], "--weights takes MODEL=WEIGHTS"),
        (["--docs", "absent.md"], "cannot read the page absent.md"),
        (["--steps", "0"], "training needs steps"),
    ],
)
def test_wrong_words_are_refused(data: Path, tmp_path: Path, words: list[str], message: str) -> None:
    code, _, err = run_cli(
        ["bench", "quality", "--data", data, "--methods", "pixel", "-o", tmp_path / "out", "--no-figures", *words]
    )
    assert code == 2
    assert message in err


def test_infinite_values_stand_in_the_files(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    for name in ("3000", "3001", "3002"):
        write_texture(data / "pet" / f"{name}.png", 1, 25, 22)
        write_texture(data / "mri" / f"{name}.png", 1, 25, 22)
    table = run(Quality(data, tmp_path / "out", methods=["pixel:max"], metrics=["psnr"], device="cpu"))
    assert mean(table.rows[0], Measure("psnr")) == math.inf
    data_found, text, rows = result(table, "x")
    assert "inf ± nan" in text
    assert json.loads(to_json(data_found))["rows"][0]["mean"]["psnr"] == "inf"
    (line,) = csv.DictReader(to_csv(rows).splitlines())
    assert (line["psnr mean"], line["psnr std"]) == ("inf", "nan")
