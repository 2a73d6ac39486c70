"""The logs and the model card of a run, and what it says when a number is not finite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import write_texture
from helpers.training import IMAGES, SHORT, log_rows, make_trainer, training

from fusekit.cli.progress import ProgressBar
from fusekit.errors import MissingExtraError, TrainingError
from fusekit.train.log import CsvLog, TensorBoardLog
from fusekit.train.recipe import Recipe
from fusekit.train.trainer import Trainer
from fusekit.weights.metadata import read_metadata
from fusekit.weights.store import read_tensors

TINY: dict[str, Any] = {"encoder": "dran", "decoder": "conv3", "encoder_options": {"channels": 2}, "device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two slices of each of three series."""
    for series in (2, 10, 41):
        for number in range(2):
            write_texture(tmp_path / "ct" / f"{series}{number:03}.png", series + number, 40, 40)
    return tmp_path / "ct"


# --- logs --------------------------------------------------------------------------------------------------------


def test_trimming_keeps_whole_rows_up_to_the_step(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "log.csv")
    log.trim(3)
    assert not log.path.exists()
    for step in range(1, 5):
        log.write({"step": step, "phase": "train", "rate": 0.1, "loss": step / 3, "near": 1.0, "seconds": 2.0})
    assert log.path.read_text().splitlines()[1] == "1,train,0.1,0.333333,1,,,,2"
    with log.path.open("a") as file:
        file.write("2,train,0.1")
    log.trim(3)
    assert [row["step"] for row in log_rows(tmp_path)] == ["1", "2", "3"]
    log.write({"step": 4, "loss": 1.0, "unheard-of": 5.0})
    assert log_rows(tmp_path)[-1]["step"] == "4"
    assert "unheard-of" not in log.path.read_text()


def test_tensorboard_gets_the_numbers_of_log_csv(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    def trainer() -> Trainer:
        recipe = Recipe(**{**SHORT, "steps": 4})
        return training([folder], tmp_path / "run", recipe, validation_series=["2"], log="tensorboard", **TINY)

    with pytest.raises(KeyboardInterrupt):
        trainer().run(log_every=1, save_every=2, report=stop)
    trainer().run(log_every=1, save_every=2)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    rows = log_rows(tmp_path / "run")
    losses = {event.step: event.value for event in events.Scalars("loss")}
    assert losses == pytest.approx({int(row["step"]): float(row["loss"]) for row in rows}, rel=1e-4)
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("validation_loss")] == [2, 4]


def test_tensorboard_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"--log tensorboard needs .*'fusekit-imaging\[train\]'"):
        TensorBoardLog(tmp_path)


def test_the_progress_bar_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("training", 2) as progress:
        progress.show(1, "settle", "loss 1")
        progress.advance()
        assert progress.speed is None or progress.speed > 0
    assert capsys.readouterr() == ("", "")


# --- numbers that are not finite ---------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_its_batch(folder: Path, tmp_path: Path) -> None:
    recipe = Recipe(**{**SHORT, "batch": 1, "steps": 40})
    trainer = training([folder], tmp_path / "run", recipe, validation_series=["none"], **TINY)
    bad = next(index for index, case in enumerate(trainer.cases) if case.files[0].name == "10000.png")
    trainer.examples[bad][0][:] = torch.inf
    with pytest.raises(TrainingError) as caught:
        trainer.run(save_every=1)
    message = str(caught.value)
    assert message.startswith("the loss is ")
    assert f"on the crops of 32 pixels of {folder / '10000.png'} at row " in message
    assert f"at step {trainer.step + 1}, " in message
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert trainer.step > 0
    assert read_metadata(trainer.checkpoint)["step"] == trainer.step
    assert all(torch.isfinite(each).all() for each in read_tensors(trainer.checkpoint).values())


def test_gradients_that_are_not_finite_stop_training_before_the_step(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    weight = next(trainer.model.parameters())
    before = weight.detach().clone()
    weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(
        TrainingError, match="the gradients' norm is nan at step 1, on the crops of 32 pixels of example"
    ):
        trainer.train_step()
    assert torch.equal(weight, before)
    assert trainer.step == 0


def test_a_validation_loss_that_is_not_finite(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.validation = [(torch.full((1, 48, 48), torch.nan),)]
    with pytest.raises(TrainingError, match="the validation loss of example 1 is nan after step 2; look at this image"):
        trainer.run(save_every=2)
    assert not trainer.checkpoint.exists()


# --- the card ----------------------------------------------------------------------------------------------------


def test_the_card_says_what_was_trained_on_what(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"train": ["2000.png", "2001.png", "41000.png", "41001.png"]}')
    trainer = training(
        [folder],
        tmp_path / "run",
        Recipe(**{**SHORT, "steps": 2}),
        names=f"{tmp_path}/names.json#/train",
        validation_series=["41"],
        **TINY,
    )
    trainer.run(save_every=1)
    card_path = tmp_path / "run" / "README.md"
    card = card_path.read_text(encoding="utf-8")
    place = f"{folder.parent.name}/ct"
    for text in (
        f"| data | 2 images of {place}, series 2 (`names.json#/train`) |",
        f"| held out | 2 images of {place}, series 41 |",
        "| objective | mean squared error of the reconstruction + 0.2 × gradient |",
        "| recipe | 2 steps of 2 crops of 32×32, Adam 0.001 with cosine decay, gradients clipped to norm 1, float32, "
        "the last 50% in evaluation mode |",
        "| seed | 3407 |",
        f"    fusekit train DATA/{place} --names DATA/names.json#/train --validation-series 41 --encoder dran "
        "--decoder conv3 --encoder-option channels=2 --steps 2 --batch 2 --crop 32 --perceptual-weight 0.0 "
        "--save-every 1 -o RUN",
        f"| psnr (dB) | {trainer.best.figures['psnr']:.6g} |",
        "Not a medical device",
    ):
        assert text in card
    assert str(tmp_path) not in card
    before, begin, rest = card.partition("<!-- figures: begin -->\n")
    _, end, after = rest.partition("<!-- figures: end -->\n")
    assert begin
    assert end
    filled = f"{before}{begin}| measured | 1 |\n{end}{after}"
    card_path.write_text(filled, encoding="utf-8")
    trainer.run(save_every=1)
    assert card_path.read_text(encoding="utf-8") == filled


def test_a_card_without_held_out_images_says_so(tmp_path: Path) -> None:
    trainer = Trainer(make_trainer(tmp_path).model, IMAGES, Recipe(**{**SHORT, "steps": 1}), tmp_path)
    trainer.run()
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "No image was held out; these are the weights after step 1." in card
    assert "| held out | nothing; the last weights are the final ones |" in card
