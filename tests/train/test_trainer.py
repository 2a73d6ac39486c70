"""A training run: its files, its log, its best weights, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import texture
from helpers.training import IMAGES, SHORT, log_rows, make_trainer

import fusekit
from fusekit.errors import TrainingError
from fusekit.train.trainer import Recipe, Trainer
from fusekit.weights.metadata import read_metadata
from fusekit.weights.store import read_tensors
from fusekit_ehdran.model import EHDRAN


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("run")
    make_trainer(folder).run(log_every=1, save_every=2)
    return folder


def test_a_run_writes_weights_that_load(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"README.md", "checkpoint.safetensors", "config.json", "log.csv", "weights.safetensors"}
    model = fusekit.load(finished / "weights.safetensors", device="cpu")
    assert model.spec.id == "ehdran"
    assert not model.training
    assert fusekit.fuse([texture(1), texture(2)], model).image.shape == (24, 20)
    config = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    assert config["model"] == "ehdran"
    assert config["training"]["steps"] == 6


def test_the_log_has_a_row_a_step(finished: Path) -> None:
    rows = log_rows(finished)
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["phase"] for row in rows] == ["train"] * 3 + ["settle"] * 3
    assert all(float(row["loss"]) > 0 and float(row["psnr"]) > 0 for row in rows)
    assert [bool(row["validation_psnr"]) for row in rows] == [False, True] * 3


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        make_trainer(tmp_path, [torch.full((1, 48, 48), torch.nan)]).run()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch": 0}, {"crop": 8}, {"rate": 0}, {"settle": 1.5}, {"precision": "float8"}]
)
def test_recipes_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingError):
        Recipe(**wrong)


def test_the_perceptual_term_needs_its_network(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs a network: give --perceptual FILE"):
        make_trainer(tmp_path, perceptual_weight=0.2)


# --- the best weights --------------------------------------------------------------------------------------------


class Scripted(Trainer):
    """A trainer whose validation losses are given, and which remembers the weights that it validated."""

    losses = (5.0, 3.0, 4.0)
    seen: dict[int, dict[str, torch.Tensor]]

    def validate(self) -> dict[str, float]:
        self.seen[self.step] = {key: value.clone() for key, value in self.model.state_dict().items()}
        return {"loss": self.losses[self.step // 2 - 1], "psnr": 20.0}


def scripted(folder: Path) -> Scripted:
    torch.manual_seed(0)
    trainer = Scripted(EHDRAN(), IMAGES[:3], Recipe(**SHORT), folder, validation=IMAGES[3:])
    trainer.seen = {}
    return trainer


def test_the_final_weights_are_the_best_ones(tmp_path: Path) -> None:
    trainer = scripted(tmp_path)
    final = trainer.run(log_every=1, save_every=2)
    written = read_tensors(final)
    assert all(torch.equal(written[key], trainer.seen[4][key]) for key in written)
    assert any(not torch.equal(written[key], trainer.seen[6][key]) for key in written)
    assert read_metadata(final)["training"]["result"] == {"step": 4, "validation_loss": 3.0, "validation_psnr": 20.0}
    assert [row["best_step"] for row in log_rows(tmp_path)] == ["", "2", "", "4", "", "4"]


def test_the_best_weights_survive_an_interruption(tmp_path: Path) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 5:
            raise KeyboardInterrupt

    first = scripted(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run(log_every=1, save_every=2, report=stop)
    written = read_tensors(scripted(tmp_path).run(log_every=1, save_every=2))
    assert all(torch.equal(written[key], first.seen[4][key]) for key in written)


def test_without_validation_the_last_weights_are_final(tmp_path: Path) -> None:
    trainer = Trainer(EHDRAN(), IMAGES, Recipe(**SHORT), tmp_path)
    written = read_tensors(trainer.run(save_every=2))
    checkpoint = read_tensors(trainer.checkpoint)
    assert all(torch.equal(written[key], checkpoint[f"model.{key}"]) for key in written)
    assert not any(key.startswith("best.") for key in checkpoint)
    assert read_metadata(tmp_path / "weights.safetensors")["training"]["result"] == {"step": 6}
    assert [row["best_step"] for row in log_rows(tmp_path)] == [""]


def test_validation_is_the_training_objective_in_evaluation_mode(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.model.train()
    found = trainer.validate()
    x = IMAGES[3][None]
    with torch.no_grad():
        model: Any = trainer.model.eval()
        loss, terms = trainer.objectives.reconstruction(x, model.reconstruct(x))
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert found["psnr"] == pytest.approx(terms["psnr"].item(), rel=1e-6)
