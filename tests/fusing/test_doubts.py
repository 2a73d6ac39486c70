"""What only the user can settle is said once, with the option that settles it, and stands in the record."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.cli import run_cli, texture
from PIL import Image as Pillow

import fusekit
from fusekit.errors import FusekitWarning, OptionError
from fusekit.images import samples
from fusekit.registry.specs import modalities_of


def colored(seed: int, side: int = 32) -> np.ndarray:
    """Return a picture (side, side, 3) of which nobody would say that it is grey."""
    grey = texture(seed, side, side).astype(float)
    return np.stack([grey, 0.5 * grey, 255 - grey], axis=-1).astype(np.uint8)


def doubts_of(**choices: Any) -> list[str]:
    """Fuse two pictures, the first of them in colour, and return what is said, which the record holds too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fused = fusekit.fuse([colored(1), texture(2, 32, 32)], device="cpu", **choices)
    said = [str(each.message) for each in caught if each.category is FusekitWarning]
    assert said == fused.record["doubts"]
    return said


@pytest.mark.slow
def test_the_default_rule_keeps_both() -> None:
    fused = fusekit.fuse([samples.path("ct"), samples.path("mri")], device="cpu")
    assert fused.record["rule"]["name"] == "sfnn-local"
    assert max(fused.record["rule_shares"]) < 0.8
    assert fused.record["doubts"] == []


def test_a_rule_that_keeps_one_source_says_so() -> None:
    rule: dict[str, Any] = {"rule": "weighted", "rule_options": {"weights": [0.1, 0.9]}}
    with pytest.warns(FusekitWarning, match=r"'weighted' gives 0\.90 of the weight to source 2, .*--rule sfnn-local"):
        fused = fusekit.fuse([samples.path("ct"), samples.path("mri")], device="cpu", **rule)
    assert fused.record["rule_shares"] == [0.1, 0.9]
    assert len(fused.record["doubts"]) == 1


@pytest.mark.parametrize("weights", [[0.2, 0.8], [0.5, 0.5]])
def test_shares_up_to_four_fifths_are_not_said(weights: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fusekit.fuse(
            [texture(1, 32, 32), texture(2, 32, 32)], device="cpu", rule="weighted", rule_options={"weights": weights}
        )


def test_colour_with_weights_of_ct_and_mri_is_said() -> None:
    (said,) = doubts_of()
    assert said == (
        "an array is in colour, and the weights ehdran.ct-mri were trained on CT and MRI; choose others by --weights "
        "(spect-mri, pet-mri, or a file); or say what the sources show, as --modality pet,mri"
    )


@pytest.mark.parametrize("choices", [{"weights": "spect-mri"}, {"weights": "pet-mri"}, {"model": "pixel"}])
def test_colour_with_weights_of_coloured_images_or_with_none_is_not(choices: dict[str, Any]) -> None:
    assert doubts_of(**choices) == []


@pytest.mark.parametrize(
    ("modality", "weights"),
    [("ct,mri", "ct-mri"), ("MR,CT", "ct-mri"), (("pet", "mri"), "pet-mri"), ("NM,t2", "spect-mri")],
)
def test_the_modality_chooses_the_weights(modality: str, weights: str) -> None:
    fused = fusekit.fuse([texture(1, 32, 32), texture(2, 32, 32)], device="cpu", modality=modality)
    assert fused.record["weights"]["name"] == f"ehdran.{weights}"
    assert [each["modality"] for each in fused.record["sources"]] == list(modalities_of(modality))
    assert fused.record["doubts"] == []


def test_none_of_the_weights_fitting_is_said() -> None:
    (said,) = doubts_of(modality="us,mri")
    assert said.startswith("the weights ehdran.ct-mri were trained on CT and MRI, and the sources show US and MRI; ")
    assert "--weights" in said


def test_weights_that_were_chosen_against_the_modality_are_said() -> None:
    (said,) = doubts_of(modality="pet,mri", weights="ct-mri")
    assert "sources show PET and MRI" in said


def test_a_modality_for_each_source_or_none() -> None:
    with pytest.raises(OptionError, match=r"is said of 3 sources .*, and there are 2"):
        doubts_of(modality="ct,mri,pet")


def folders(place: Path, count: int = 3) -> list[Path]:
    for name, make in (("pet", colored), ("mri", lambda seed: texture(seed, 32, 32))):
        (place / name).mkdir()
        for number in range(count):
            Pillow.fromarray(make(number)).save(place / name / f"{number}.png")
    return [place / "pet", place / "mri"]


@pytest.mark.parametrize("executor", ["threads", "serial"])
def test_over_a_folder_each_kind_is_said_once(tmp_path: Path, executor: str) -> None:
    options = ["--rule", "weighted", "--rule-option", "weights=0.9,0.1", "--executor", executor, "--json"]
    code, out, err = run_cli(["fuse", "--pairs", *folders(tmp_path), "-o", tmp_path / "out", *options])
    assert code == 0, err
    lines = err.splitlines()
    assert len(lines) == 2
    assert any("is in colour" in line for line in lines)
    assert any("0.90 of the weight to source 1" in line for line in lines)
    assert all("said once" in line for line in lines)
    names = ["0", "1", "2"]
    assert json.loads(out)["doubts"] == {"weights": names, "share": names}
    for name in names:
        assert len(json.loads((tmp_path / "out" / f"{name}.png.json").read_text())["doubts"]) == 2
