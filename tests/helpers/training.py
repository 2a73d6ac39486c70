"""A short training of EH-DRAN on three small textures, and its log, for several test files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fusekit.options import overridden
from fusekit.train.options import Parts, TrainingData, TrainingRun
from fusekit.train.session import start_training
from fusekit.train.trainer import Recipe, Trainer
from fusekit.weights.store import read_tensors
from fusekit_ehdran.model import EHDRAN
from helpers.cli import texture

SHORT: dict[str, Any] = {"steps": 6, "batch": 2, "crop": 32, "perceptual_weight": 0.0}
IMAGES = [torch.from_numpy(texture(seed, 48, 48, depth="float32"))[None] for seed in range(4)]


def make_trainer(folder: Path, images: list[torch.Tensor] = IMAGES[:3], **recipe: Any) -> Trainer:
    """Return a trainer whose validation image is not among those that it trains on."""
    torch.manual_seed(0)
    return Trainer(EHDRAN(), images, Recipe(**{**SHORT, **recipe}), folder, validation=IMAGES[3:])


def training(folders: Sequence[Path], output: Path, recipe: Recipe, **choices: Any) -> Trainer:
    """Return what `start_training` returns for choices that are fields of its option classes."""
    data = overridden(TrainingData, TrainingData(folders=folders), choices, Parts, TrainingRun)
    run = overridden(TrainingRun, TrainingRun(output=output), choices, Parts, TrainingData)
    return start_training(data, overridden(Parts, None, choices, TrainingData, TrainingRun), recipe, run)


def log_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run's log, without the time that they took."""
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def same_tensors(first: Path, second: Path) -> bool:
    """Return whether two weights files hold the same tensors, bit for bit."""
    ours, theirs = read_tensors(first), read_tensors(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
