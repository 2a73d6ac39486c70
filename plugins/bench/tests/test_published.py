"""``fusekit bench quality --fused``: whose images are rated on which pairs, beside what; and ``--methods all``."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers.cli import run_cli, write_texture
from helpers.datasets import FACTS, write_data

from fusekit.errors import FusekitWarning, InputError, OptionError
from fusekit.evaluation.rate import evaluate_detailed
from fusekit.images.color import luminance
from fusekit.images.files import read_image
from fusekit.registry.discovery import registries
from fusekit_bench.publish import to_csv, to_json
from fusekit_bench.quality import scores
from fusekit_bench.quality.export import result
from fusekit_bench.quality.methods import Method, parse_methods, roles_of
from fusekit_bench.quality.runner import run
from fusekit_bench.quality.table import Table
from fusekit_bench.requests import Quality

pytest.importorskip("pandas", reason="the table needs the extra bench")

METRICS = ("float:psnr", "qabf", "scd")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def images(folder: Path, *names: str, channels: int | None = None) -> Path:
    for seed, name in enumerate(names, 90):
        shape = (25, 22) if channels is None else (25, 22, channels)
        write_texture(folder / f"{name}.png", seed, *shape)
    return folder


def table_of(data: Path, output: Path, **fused: Path) -> Table:
    return run(Quality(data, output, methods=["pixel:max"], metrics=METRICS, fused=fused, device="cpu"))


def test_images_are_rated_as_a_models_output_is(data: Path, tmp_path: Path) -> None:
    folder = images(tmp_path / "theirs", "3001", channels=3)
    table = table_of(data, tmp_path / "out", theirs=folder)
    row = next(row for row in table.rows if row.name == "theirs")
    assert row.partial
    assert list(row.ratings[""]) == ["3001"]
    sources = [data / each / "3001.png" for each in ("pet", "mri")]
    grey = luminance(read_image(folder / "3001.png").pixels.astype(np.float64))
    expected = evaluate_detailed(sources, np.rint(grey).astype(np.uint8), ["qabf", "scd"])
    found = row.ratings[""]["3001"]
    for name in ("qabf", "scd"):
        assert found[name]["value"] == pytest.approx(expected[name]["value"], rel=1e-6)
    units = [read_image(path).pixels.astype(np.float64) for path in sources]
    units = [luminance(each) if each.ndim == 3 else each for each in units]
    stretched = [((each - each.min()) / np.ptp(each)).astype(np.float32) for each in (*units, grey)]
    psnr = evaluate_detailed(stretched[:2], stretched[2], ["psnr"])["psnr"]["value"]
    assert found["float:psnr"]["value"] == pytest.approx(psnr, rel=1e-4)


def test_a_row_of_some_pairs_stands_beside_all_methods_on_just_these(data: Path, tmp_path: Path) -> None:
    some = images(tmp_path / "some" / "tiny", "3000", "3002").parent
    one = images(tmp_path / "one", "3000")
    whole = images(tmp_path / "whole", "3000", "3001", "3002")
    table = table_of(data, tmp_path / "out", some=some, one=one, whole=whole)
    assert [row.name for row in table.by_dataset()["tiny"]] == ["pixel · max", "whole"]
    first, second = table.subsets("tiny")
    assert (first.names, first.pairs) == (["some"], ["3000", "3002"])
    assert [row.name for row in first.rows] == ["pixel · max", "some", "whole"]
    assert [row.name for row in second.rows] == ["pixel · max", "some", "one", "whole"]
    found = result(table, "the command")
    main, of_two, of_one = found.text.split("**Tiny")[1:]
    assert "| whole |" in main
    assert "| some |" not in main
    assert "- The authors of whole may have trained" in main
    assert of_two.startswith(", on the 2 pairs of some**: 2 pairs of ")
    assert "The authors of some and whole may have trained on these pairs." in of_two
    assert of_one.startswith(", on the 1 pair of one**")
    values = [table.rows[0].ratings[""][pair]["scd"]["value"] for pair in ("3000", "3002")]
    written = json.loads(to_json(found.data))
    subset = written["subsets"][0]
    assert subset["rows"][0]["mean"]["scd"] == pytest.approx(statistics.fmean(values))
    assert ["replicates" in row for row in subset["rows"]] == [False, True, False]
    facts = subset["rows"][1]["replicates"][0]["facts"]
    assert facts["fused"]["folder"] == "some/tiny"
    assert (facts["fused"]["images"], len(facts["fused"]["sha256"]), facts["data"]["pairs"]) == (2, 64, 2)
    assert "weights" not in facts
    assert "rule" not in facts
    lines = list(csv.DictReader(to_csv(found.rows).splitlines()))
    assert [(line["subset"], line["method"], line["pairs"]) for line in lines[:5]] == [
        ("", "pixel · max", "3"), ("", "whole", "3"),
        ("some", "pixel · max", "2"), ("some", "some", "2"), ("some", "whole", "2"),
    ]  # fmt: skip
    assert lines[3]["fused"] == "some/tiny"


def test_only_images_that_changed_are_rated_again(data: Path, tmp_path: Path) -> None:
    folder = images(tmp_path / "theirs", "3000")
    table_of(data, tmp_path / "out", theirs=folder)
    with mock.patch.object(scores, "_rate", side_effect=scores._rate) as rate:
        table_of(data, tmp_path / "out", theirs=folder)
        assert rate.call_count == 0
        write_texture(folder / "3000.png", 5, 25, 22)
        table_of(data, tmp_path / "out", theirs=folder)
        assert rate.call_count == 1


def two_sets(tmp_path: Path) -> Path:
    data = write_data(tmp_path / "data")
    for each in ("pet", "mri"):
        shutil.copytree(data / each, data / "apart" / each)
    folders = {"test_folders": ["apart/pet", "apart/mri"], "test": None}
    other = {key: value for key, value in {**FACTS, **folders, "title": "Other"}.items() if value is not None}
    (data / "datasets.json").write_text(json.dumps({"tiny": FACTS, "other": other}))
    return data


def test_a_folder_a_dataset_is_called_as_it_or_as_that_of_its_test_pairs(tmp_path: Path) -> None:
    data = two_sets(tmp_path)
    folder = images(tmp_path / "theirs" / "apart", "3000").parent
    table = table_of(data, tmp_path / "out", theirs=folder)
    assert [row.dataset.name for row in table.rows if row.name == "theirs"] == ["other"]
    images(folder / "other", "3000")
    with pytest.raises(InputError, match=r"other and .*apart are both for the dataset 'other'; keep one"):
        table_of(data, tmp_path / "out", theirs=folder)
    loose = images(tmp_path / "loose", "3000")
    with pytest.raises(InputError, match=r"3000\.png may be of the pair 3000 of tiny or of other; put the images into"):
        table_of(data, tmp_path / "out", theirs=loose)


def test_what_fits_no_pair_or_cannot_be_rated_is_named(data: Path, tmp_path: Path) -> None:
    folder = images(tmp_path / "theirs", "3000", "strange")
    with pytest.raises(InputError, match=r"--fused x: .*strange\.png is the fused image of no test pair of tiny"):
        table_of(data, tmp_path / "out", x=folder)
    (folder / "strange.png").unlink()
    write_texture(folder / "3001.png", 1, 30, 22)
    with pytest.raises(InputError, match=r"3001\.png is 30×22 and its source .*3001\.png is 25×22"):
        table_of(data, tmp_path / "out", x=folder)
    (folder / "3001.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"3001\.png"):
        table_of(data, tmp_path / "out", x=folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--fused x: .*empty holds no image of a test pair; .* called tiny"):
        table_of(data, tmp_path / "out", x=tmp_path / "empty")
    with pytest.raises(InputError, match="there is no folder"):
        table_of(data, tmp_path / "out", x=tmp_path / "absent")
    with pytest.raises(OptionError, match="called as another row"):
        table_of(data, tmp_path / "out", **{"pixel · max": folder})
    with pytest.raises(OptionError, match="--fused is of the protocol series"):
        Quality(data, tmp_path, protocol="paper", fused={"x": folder})
    assert not (tmp_path / "out" / "cache").exists()


def test_the_command_takes_several(data: Path, tmp_path: Path) -> None:
    one, two = images(tmp_path / "one", "3000"), images(tmp_path / "two", "3000")
    words = ["bench", "quality", "--data", data, "--methods", "pixel:max", "--metrics", "scd", "--device", "cpu"]
    words += ["--fused", f"A={one}", "--fused", f"B={two}", "--no-figures", "-o", tmp_path / "out"]
    code, out, _ = run_cli(words)
    assert code == 0
    assert "--fused A=one --fused B=two" in out
    assert "on the 1 pair of A and B**" in out
    code, _, err = run_cli([*words, "--fused", f"A={two}"])
    assert code == 2
    assert "two fused results are called 'A'" in err


def test_all_is_every_model_that_can_be_had(data: Path, tmp_path: Path) -> None:
    models = registries().models.names()
    assert [method.model for method in parse_methods(["all"])] == models
    named = parse_methods(["all", "ifcnn"])
    assert [method.model for method in named if not method.of_all] == ["ifcnn"]
    without = "mrscfusion-autoencoder"
    some = [Method(name, "max", of_all=True) for name in ("pixel", without, "ehdran")]
    with (
        mock.patch("fusekit_bench.quality.protocols.parse_methods", return_value=some),
        pytest.warns(FusekitWarning, match=rf"--methods all leaves out {without}: no weights; train .* or convert"),
    ):
        table = run(Quality(data, tmp_path / "out", methods=["all"], metrics=["scd"], device="cpu"))
    assert [row.name for row in table.rows] == ["pixel · max", "ehdran · max"]


def test_sources_take_the_roles_that_they_show() -> None:
    spec = registries().models.entry("mrscfusion").details["spec"]
    assert roles_of(spec, ("PET", "MRI")) == {"mri": 2, "ct": 1}
    assert roles_of(spec, ("MRI", "T2")) == {"mri": 1, "ct": 2}
    assert roles_of(spec, ("one", "two")) == {}
