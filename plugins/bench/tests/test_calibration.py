"""The calibration table, the command that fills it, and its page; beside golden values where these are present."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import run_cli, texture, write_texture
from helpers.paths import ROOT

from fusekit.errors import InputError
from fusekit.registry.discovery import BUILTIN_OWNER, registries
from fusekit_bench.calibration.calibrate import (
    CLOSED,
    FILTER,
    LIMITS,
    NOT_CALIBRATED,
    REFERENCES,
    STATED,
    Reference,
    Triples,
    deviation,
    golden_folder,
    result,
    uncalibrated,
)

PAGE = ROOT / "docs" / "calibration.md"
BUILTIN = [entry.name for entry in registries().metrics if entry.owner == BUILTIN_OWNER]


def name_of(reference: Reference) -> str:
    part = "-".join(each.rstrip("_") for each in reference.without)
    return f"{reference.metric}-{reference.implementation}{'-without-' if part else ''}{part}"


@pytest.mark.slow
@pytest.mark.parametrize("reference", REFERENCES, ids=name_of)
def test_value_of_the_published_implementation(triples: Triples, reference: Reference) -> None:
    found = deviation(triples, reference)
    assert found.triples >= reference.least
    assert found.relative < reference.tolerance, found
    assert found.within


def test_every_metric_is_calibrated_or_says_why_not() -> None:
    calibrated = {reference.metric for reference in REFERENCES}
    assert calibrated | set(NOT_CALIBRATED) == set(BUILTIN)
    assert not calibrated & set(NOT_CALIBRATED)
    assert set(uncalibrated()) == set(NOT_CALIBRATED)


def test_tolerances_keep_to_their_grades() -> None:
    for reference in REFERENCES:
        assert reference.tolerance <= LIMITS[reference.grade], reference
        assert reference.remark or reference.grade == CLOSED, reference
        assert math.isfinite(reference.tolerance)
    for metric in {reference.metric for reference in REFERENCES} - {"fmi.edge"}:
        assert any(each.grade in (CLOSED, FILTER) for each in REFERENCES if each.metric == metric), metric


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the tests")
def test_the_page_has_all_rows_and_no_exceeded_deviation() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([^`]+)` \| ((?:octave|python):.*?) \| (\d+) \|.*?\| (\S+) \| [a-z ]+ \| ([^|]+) \|", text, re.M
    )
    assert [row[:2] for row in rows] == [(each.metric, each.implementation) for each in REFERENCES]
    assert [row[3] for row in rows] == [f"{each.tolerance:.0e}" for each in REFERENCES]
    assert {row[4] for row in rows} <= {"within", "within, as stated"}
    assert all(f"| `{name}` | {reason} |" in text for name, reason in NOT_CALIBRATED.items())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two triples with published standard deviations, the second one's 1 % too high and others that do not count."""
    values = {}
    for number, factor in enumerate((1.0, 1.01)):
        name = f"{'ab'[number]}-triple"
        for letter, seed in zip("ABF", (1, 2, 3 + number), strict=True):
            write_texture(tmp_path / "triples" / name / f"{letter}.png", seed)
        spread = float(np.std(texture(3 + number).astype(float)))
        values[name] = {"SD": {"x:exact": spread * factor, "x:nan": "nan", "x:failed": None, "x:inf": "inf"}}
    (tmp_path / "values.json").write_text(json.dumps(values))
    return tmp_path


def test_deviation_is_the_largest_of_the_triples(folder: Path) -> None:
    triples = Triples(folder)
    found = deviation(triples, Reference("sd", "SD", "x:exact", STATED, 0.02, 2, remark="Wrong."))
    assert (found.triples, found.worst, found.verdict) == (2, "b-triple", "within, as stated")
    assert found.relative == pytest.approx(0.01 / 1.01)
    assert found.absolute == pytest.approx(0.01 * triples.value("sd", "b-triple"))


@pytest.mark.parametrize(
    ("reference", "count", "verdict"),
    [
        (Reference("sd", "SD", "x:exact", CLOSED, 1e-9, 2), 2, "EXCEEDED"),
        (Reference("sd", "SD", "x:exact", CLOSED, 1e-9, 1, without=("b-",)), 1, "within"),
        (Reference("sd", "SD", "x:exact", CLOSED, 1e-9, 2, without=("b-",)), 1, "EXCEEDED"),
        (Reference("sd", "SD", "x:exact", CLOSED, 1e-9, 2, factor=2.0), 2, "EXCEEDED"),
        (Reference("sd", "SD", "x:nan", CLOSED, 1e-9, 1), 0, "EXCEEDED"),
        (Reference("sd", "SD", "x:failed", CLOSED, 1e-9, 1), 0, "EXCEEDED"),
        (Reference("sd", "SD", "x:inf", CLOSED, 1e-9, 1), 2, "EXCEEDED"),
        (Reference("sd", "AG", "x:exact", CLOSED, 1e-9, 0), 0, "within"),
    ],
)
def test_verdicts(folder: Path, reference: Reference, count: int, verdict: str) -> None:
    found = deviation(Triples(folder), reference)
    assert (found.triples, found.verdict) == (count, verdict)


def test_only_triples_without_flat_windows(folder: Path) -> None:
    triples = Triples(folder)
    assert triples.textured("a-triple")
    write_texture(folder / "triples" / "b-triple" / "B.png", 1, 24, 20)
    from fusekit.images.files import write_image
    from fusekit.images.image import from_pixels

    write_image(folder / "triples" / "b-triple" / "B.png", from_pixels(np.full((24, 20), 7, np.uint8)))
    assert not triples.textured("b-triple")
    assert deviation(triples, Reference("sd", "SD", "x:exact", CLOSED, 1e-9, 1, textured=True)).worst == "a-triple"


def test_page_and_data_say_the_same(folder: Path) -> None:
    found = [deviation(Triples(folder), Reference("sd", "SD", "x:exact", STATED, 0.02, 2, remark="Wrong."))]
    data, text, rows = result(found)
    assert "| `sd` | x:exact | 2 |" in text
    assert "| 9.9e-03 | 2e-02 | stated | within, as stated | 1 |" in text
    assert "1. Wrong." in text
    assert data["calibrated"] == rows
    assert rows[0]["max_relative"] == found[0].relative
    assert "en" in data["not_calibrated"] or "qte" in data["not_calibrated"]


def test_command_writes_the_page_and_fails_where_values_are_missing(folder: Path) -> None:
    done = run_cli(["bench", "calibration", "--golden", folder, "--markdown", folder / "page.md", "--json"])
    assert done.code == 1
    assert "en deviates from octave:VIFB" in done.err
    assert (folder / "page.md").read_text().startswith("# Calibration")
    assert len(json.loads(done.out)["calibrated"]) == len(REFERENCES)


def test_golden_values_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSEKIT_SHARED", raising=False)
    with pytest.raises(InputError, match=r"--golden DIR.*FUSEKIT_SHARED"):
        golden_folder(None)
    monkeypatch.setenv("FUSEKIT_SHARED", str(tmp_path))
    assert golden_folder(None) == tmp_path / "golden" / "metrics"
    done = run_cli(["bench", "calibration", "--markdown", tmp_path / "page.md"])
    assert done.code == 2
    assert "values.json: No such file" in done.err
    for text, message in (("{", "is not JSON"), ("[1]", "does not map triples"), ('{"a": 1}', "does not map triples")):
        (tmp_path / "values.json").write_text(text)
        done = run_cli(["bench", "calibration", "--golden", tmp_path, "--markdown", tmp_path / "page.md"])
        assert done.code == 2
        assert message in done.err
    assert not (tmp_path / "page.md").exists()
