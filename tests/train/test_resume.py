"""A run that was stopped, wherever it was, ends with the same bits and the same log as one that was not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import run_cli, write_texture
from helpers.forked import Forked
from helpers.training import log_rows, make_trainer, same_tensors

from fusekit.errors import TrainingError
from fusekit.train import trainer
from fusekit.train.log import CsvLog
from fusekit.weights.store import read_tensors


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("run")
    make_trainer(folder).run(log_every=1, save_every=2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, finished: Path, stop_at: int) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["step"] == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path).run(log_every=1, save_every=2, report=stop)
    assert not (tmp_path / "weights.safetensors").exists()
    make_trainer(tmp_path).run(log_every=1, save_every=2)
    assert same_tensors(tmp_path / "weights.safetensors", finished / "weights.safetensors")
    assert log_rows(tmp_path) == log_rows(finished)


# --- a stop in each gap between two writes -----------------------------------------------------------------------


class Stopped(BaseException):
    """Stands for the end of the process."""


def on_call(number: int, function: Callable[..., Any], stop: Callable[..., None]) -> Callable[..., Any]:
    """Return ``function`` with its ``number``-th call replaced by ``stop`` and the end of the process."""
    calls = []

    def replaced(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == number:
            stop(*arguments, **options)
            raise Stopped
        return function(*arguments, **options)

    return replaced


def nothing(*_: Any, **__: Any) -> None:
    """Stop before anything is written."""


def half_a_row(log: CsvLog, row: dict[str, Any]) -> None:
    with log.path.open("a", encoding="utf-8") as file:
        file.write(f"{row['step']},train,0.0")


def half_a_header(log: CsvLog, _: dict[str, Any]) -> None:
    log.path.write_text("step,pha")


def a_row_without_its_end(log: Any, row: dict[str, Any]) -> None:
    log.write_whole(row)
    log.path.write_text(log.path.read_text().removesuffix("\n"))


GAPS = {
    "before the first row": (CsvLog, "write", 1, nothing),
    "in the header": (CsvLog, "write", 1, half_a_header),
    "before the row of a checkpoint": (CsvLog, "write", 4, nothing),
    "in the row of a checkpoint": (CsvLog, "write", 4, half_a_row),
    "at the end of the row of a checkpoint": (CsvLog, "write", 4, a_row_without_its_end),
    "between the row and its first checkpoint": (trainer, "save_checkpoint", 1, nothing),
    "between the row and a later checkpoint": (trainer, "save_checkpoint", 2, nothing),
    "between the last row and its checkpoint": (trainer, "save_checkpoint", 3, nothing),
    "between the last checkpoint and the weights": (trainer, "save_weights", 1, nothing),
}


@pytest.mark.parametrize("gap", GAPS)
def test_a_stop_in_any_gap_loses_nothing(
    gap: str, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, number, stop = GAPS[gap]
    with monkeypatch.context() as patch:
        patch.setattr(CsvLog, "write_whole", CsvLog.write, raising=False)
        patch.setattr(owner, name, on_call(number, getattr(owner, name), stop))
        with pytest.raises(Stopped):
            make_trainer(tmp_path).run(log_every=1, save_every=2)
    assert not (tmp_path / "weights.safetensors").exists()
    make_trainer(tmp_path).run(log_every=1, save_every=2)
    assert same_tensors(tmp_path / "weights.safetensors", finished / "weights.safetensors")
    assert log_rows(tmp_path) == log_rows(finished)


def test_a_finished_run_is_left_as_it_is(finished: Path) -> None:
    before, rows = read_tensors(finished / "weights.safetensors"), log_rows(finished)
    make_trainer(finished).run(log_every=1, save_every=2)
    after = read_tensors(finished / "weights.safetensors")
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert log_rows(finished) == rows


def test_another_recipe_is_not_resumed(finished: Path) -> None:
    with pytest.raises(TrainingError, match="trained with another rate, seed; choose another output folder"):
        make_trainer(finished, rate=1e-4, seed=1).run()
    other = make_trainer(finished)
    other.about = {"data": {"sha256": "of other images"}}
    with pytest.raises(TrainingError, match="trained with another data; "):
        other.run()


@pytest.mark.slow
@pytest.mark.process
def test_a_run_killed_by_force_reaches_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index in range(3):
        write_texture(tmp_path / "images" / f"{index}.png", index, 40, 40)

    def command(run: str) -> list[str]:
        options = "--steps 14 --batch 2 --crop 32 --perceptual-weight 0 --device cpu --log-every 1 --save-every 2"
        return ["train", str(tmp_path / "images"), "-o", str(tmp_path / run), *options.split()]

    killed = tmp_path / "killed"
    process = Forked("from fusekit.cli.main import run; run()", *command("killed"))
    deadline = time.monotonic() + 60
    while not (killed / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    assert not (killed / "weights.safetensors").exists()
    for run in ("killed", "whole"):
        assert run_cli(command(run)).code == 0
    assert not list(killed.glob(".*"))
    first, second = (tmp_path / run / "weights.safetensors" for run in ("killed", "whole"))
    assert first.read_bytes() == second.read_bytes()
    assert log_rows(tmp_path / "killed") == log_rows(tmp_path / "whole")
    assert len(log_rows(tmp_path / "whole")) == 14
