"""Training images: what is found, how it is cut, and which series are kept apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import write_texture
from helpers.training import IMAGES, SHORT, training

from fusekit.cases.case import Case
from fusekit.errors import TrainingError
from fusekit.train.data import Images, describe, find_cases, find_images, sample_batch
from fusekit.train.recipe import Recipe


def drawn(seed: int, step: int) -> torch.Tensor:
    (crops,) = sample_batch([(image,) for image in IMAGES], 3, 32, seed, step).sources
    return crops


def test_batches_depend_on_seed_and_step_alone() -> None:
    first = drawn(seed=1, step=5)
    assert first.shape == (3, 1, 32, 32)
    torch.manual_seed(99)
    assert torch.equal(first, drawn(seed=1, step=5))
    assert not torch.equal(first, drawn(seed=1, step=6))
    assert not torch.equal(first, drawn(seed=2, step=5))


def test_small_images_are_padded_by_their_border() -> None:
    small = torch.arange(20 * 40, dtype=torch.float32).reshape(1, 20, 40)
    (batch,) = sample_batch([(small,)], 2, 32, seed=1, step=1).sources
    assert batch.shape == (2, 1, 32, 32)
    assert set(batch.unique().tolist()) <= set(small.unique().tolist())


def test_images_names_and_digest(tmp_path: Path) -> None:
    paths = [write_texture(tmp_path / "images" / f"{number}.png", number) for number in range(3)]
    write_texture(tmp_path / "images" / "3.png", 3, channels=3)
    assert len(find_images([tmp_path / "images"])) == 4
    (tmp_path / "names.txt").write_text("2.png\n0.png\n")
    chosen = find_images([tmp_path / "images"], [tmp_path / "names.txt"])
    assert chosen == [("2", paths[2]), ("0", paths[0])]
    alone = find_cases([tmp_path / "images"], [tmp_path / "names.txt"])
    assert [case.files for case in alone] == [(path,) for _, path in chosen]
    assert alone[0] == Case("2", (paths[2],), ("images",), "2")
    assert describe(alone) != describe(alone[::-1])
    assert describe(alone, [f"{tmp_path}/list.json#/a"])["names"] == "list.json#/a"
    assert str(tmp_path) not in json.dumps(describe(alone, [tmp_path / "names.txt"]))
    loaded = [Images("minmax").load(path) for _, path in find_images([tmp_path / "images"])]
    assert all(image.shape == (1, 24, 20) and image.min() == 0 and image.max() == 1 for image in loaded)
    (tmp_path / "names.txt").write_text("9.png\n")
    with pytest.raises(TrainingError, match="lists 1 name that its folder does not hold: 9"):
        find_images([tmp_path / "images"], [tmp_path / "names.txt"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="no images in"):
        find_images([tmp_path / "empty"])


def test_validation_on_trained_images_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        write_texture(tmp_path / "images" / f"{number}.png", number)
    (tmp_path / "train.txt").write_text("0.png\n1.png\n")
    (tmp_path / "validate.txt").write_text("1.png\n2.png\n")
    with pytest.raises(TrainingError, match=r"1\.png is in both the training and the validation list"):
        training(
            [tmp_path / "images"],
            tmp_path / "run",
            Recipe(**SHORT),
            names=tmp_path / "train.txt",
            validation_names=tmp_path / "validate.txt",
            device="cpu",
        )


# --- series ------------------------------------------------------------------------------------------------------


def test_a_session_holds_series_out_and_says_so(series_folder: Path, tmp_path: Path) -> None:
    trainer = training([series_folder], tmp_path / "run", Recipe(**SHORT), validation_series=["10"], device="cpu")
    assert len(trainer.examples) == 6
    assert len(trainer.validation) == 3
    assert trainer.about["data"]["series"] == ["2", "41"]
    assert trainer.about["validation"]["series"] == ["10"]


def test_one_series_is_not_trained_on_and_validated_on(series_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("2000.png\n2001.png\n10001.png\n")
    (tmp_path / "validate.txt").write_text("2002.png\n")
    choices: dict[str, Any] = {
        "names": tmp_path / "train.txt",
        "validation_names": tmp_path / "validate.txt",
        "device": "cpu",
    }
    with pytest.raises(TrainingError, match=r"the series '2' is in both .* --series-pattern '\(\.\+\)'"):
        training([series_folder], tmp_path / "run", Recipe(**SHORT), **choices)
    each_its_own = training([series_folder], tmp_path / "run", Recipe(**SHORT), **choices, series_pattern="(.+)")
    assert len(each_its_own.validation) == 1
    with pytest.raises(TrainingError, match="either names or series, not both"):
        training([series_folder], tmp_path / "run", Recipe(**SHORT), **choices, validation_series=["41"])
