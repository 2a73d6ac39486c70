"""``fusekit bench weights``: figures of tiny pairs, and their place in a model card."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, texture, write_texture

import fusekit
from fusekit.errors import InputError
from fusekit.evaluation.rate import evaluate
from fusekit.models.base import EncoderDecoder
from fusekit.pipeline import fuse
from fusekit_bench.cards import markdown, reconstruction_psnr, score_weights
from fusekit_bench.publish import write_between

CARD = "# Card\n\n<!-- figures: begin -->\nold\n<!-- figures: end -->\n\nThe end.\n"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for number in range(3):
        write_texture(tmp_path / "ct" / f"{number}.png", number)
        write_texture(tmp_path / "mri" / f"{number}.png", 10 + number)
    (tmp_path / "names.txt").write_text("0.png\n2.png\n")
    return [tmp_path / "ct", tmp_path / "mri"]


def test_scores_are_means_over_the_pairs(folders: list[Path]) -> None:
    names = str(folders[0].parent / "names.txt")
    scores = score_weights("ehdran", folders, names, ["mean", "max"], ["en", "psnr"], device="cpu").data
    json.dumps(scores)
    assert scores["data"]["pairs"] == 2
    assert list(scores["reconstruction"]) == ["ct", "mri"]
    model = fusekit.load("ehdran", device="cpu")
    assert isinstance(model, EncoderDecoder)
    assert scores["weights_sha256"] == model.provenance.weights.sha256
    values = [reconstruction_psnr(model, folders[0] / f"{number}.png") for number in (0, 2)]
    assert scores["reconstruction"]["ct"]["mean"] == pytest.approx(np.mean(values))
    assert scores["reconstruction"]["ct"]["min"] == pytest.approx(min(values))
    rated = []
    for number in (0, 2):
        pair = [folder / f"{number}.png" for folder in folders]
        rated.append(evaluate(pair, fuse(pair, model, rule="max").image, ["en"])["en"])
    assert scores["fusion"]["max"]["en"] == pytest.approx({"mean": np.mean(rated), "std": np.std(rated, ddof=1)})
    assert list(scores["fusion"]["mean"]) == ["en", "psnr"]


def test_reconstruction_psnr_is_that_of_the_prepared_image(folders: list[Path]) -> None:
    model: Any = fusekit.load("ehdran", device="cpu")
    unit = torch.from_numpy(texture(0).astype(np.float32) / 255)[None, None]
    with torch.no_grad():
        error = (model.reconstruct(unit).clamp(0, 1) - unit).square().mean().item()
    assert reconstruction_psnr(model, folders[0] / "0.png") == pytest.approx(-10 * math.log10(error), rel=1e-4)


def test_pairs_that_are_not_everywhere(folders: list[Path]) -> None:
    (folders[1] / "2.png").unlink()
    assert score_weights("ehdran", folders, None, ["mean"], ["en"], device="cpu").data["data"]["pairs"] == 2
    with pytest.raises(InputError, match="lists pairs that are not in all of the folders"):
        score_weights("ehdran", folders, str(folders[0].parent / "names.txt"), ["mean"], ["en"], device="cpu")


def test_markdown_has_both_tables() -> None:
    scores = {
        "weights_sha256": "0123456789abcdef" * 4,
        "data": {"folders": ["a/ct", "a/mri"], "pairs": 2},
        "reconstruction": {"ct": {"mean": 40.125, "min": 39.0, "count": 2}},
        "fusion": {"mean": {"en": {"mean": 4.0, "std": 0.5}, "mi": {"mean": 2.25, "std": 0.0}}},
    }
    lines = markdown(scores).splitlines()
    assert lines[0] == "2 pairs of a/ct and a/mri; weights sha256 `0123456789abcdef…`."
    assert "| ct | 40.12 | 39.00 | 2 |" in lines
    assert lines[-4:] == ["| metric | mean |", "|---|---|", "| en ↑ | 4.000 ± 0.500 |", "| mi ↑ | 2.250 ± 0.000 |"]


def test_the_card_changes_between_its_markers_only(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text(CARD, encoding="utf-8")
    for text in ("| new |", "| newer |"):
        write_between(card, text, "figures")
        assert card.read_text(encoding="utf-8") == CARD.replace("old", text)


@pytest.mark.parametrize("content", ["# Card\n", "<!-- figures: begin -->\n", "<!-- figures: end -->\n"])
def test_a_card_without_markers_is_refused(tmp_path: Path, content: str) -> None:
    card = tmp_path / "card.md"
    card.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="has no lines"):
        write_between(card, "new", "figures")
    assert card.read_text(encoding="utf-8") == content
    with pytest.raises(InputError, match="cannot read the page"):
        write_between(tmp_path / "absent.md", "new", "figures")


def test_weights_that_are_none_are_told(folders: list[Path]) -> None:
    scores = score_weights("pixel", folders, None, ["mean"], ["en"], device="cpu")
    assert scores.text.splitlines()[0].endswith("ct and " + "/".join(folders[1].parts[-2:]) + "; no weights.")
    assert [(row["rule"], row["metric"]) for row in scores.rows] == [("mean", "en")]


def test_the_command_prints_and_fills_the_card(folders: list[Path]) -> None:
    card = folders[0].parent / "card.md"
    card.write_text(CARD, encoding="utf-8")
    command = ["bench", "weights", "ehdran", *folders, "--rules", "mean", "--metrics", "en", "--device", "cpu"]
    code, out, err = run_cli([*command, "--card", card])
    assert (code, err) == (0, "")
    assert out.strip() in card.read_text(encoding="utf-8")
    code, out, err = run_cli([*command, "--json"])
    assert (code, err) == (0, "")
    assert json.loads(out)["data"]["pairs"] == 3
    code, out, err = run_cli([*command, "--rules", "meen"])
    assert (code, out) == (2, "")
    assert "unknown fusion rule 'meen'" in err
