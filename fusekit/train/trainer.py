"""The trainer: seeded, resumable to the bit, best weights by validation.

Each step is a function of the seed, its number, the weights and the optimiser's state, and all of that is in the
checkpoint; so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusekit.cases.case import Case
from fusekit.errors import FusekitWarning, TrainingError
from fusekit.machine.files import is_file, make_folder, remove_stale_partials, write_text_atomically
from fusekit.machine.parsing import read_json
from fusekit.models.base import FusionModel
from fusekit.models.objectives import Objectives
from fusekit.models.shapes import pad_to_multiple
from fusekit.train.card import write_card
from fusekit.train.checkpoint import Best, Progress, load_checkpoint, save_checkpoint
from fusekit.train.data import Batch, Sources, sample_batch
from fusekit.train.log import CsvLog, TensorBoardLog
from fusekit.train.processes import Processes, find_processes
from fusekit.train.recipe import Recipe as Recipe
from fusekit.weights.folders import CHECKPOINT, FINAL
from fusekit.weights.store import save_weights


class Trainer:
    """Trains a model on what its ``training_loss`` says: an encoder-decoder to reconstruct images.

    Args:
        model: freshly constructed.
        examples: (1, H, W) float tensors in [0, 1], or tuples of the registered sources of one slice.
        recipe: how.
        folder: where checkpoint, log and final weights go; a checkpoint found there is resumed.
        validation: examples to choose the best weights by; never trained on.
        perceptual: network of the perceptual term, or ``None`` to leave the term out.
        about: facts for the weights' header and ``config.json`` (data, split, …); a run is resumed with the same only.
        cases: what each example was read from, to name a batch by.
        validation_cases: of each validation example, likewise.
        device: where to train.
        doubts: lines on what was left to defaults, which are warned of when the run begins, and not when it goes on.
        tensorboard: also write what ``log.csv`` holds for TensorBoard, to the folder ``tensorboard``.

    In several processes (see `fusekit.train.processes`) each sees its own share of the crops that one process with a
    batch as large as all of theirs would see; gradients and BatchNorm's running statistics are averaged in each step.

    Raises:
        TrainingError: the recipe asks for a network that is not given, or for crops that the model cannot take.
    """

    def __init__(
        self,
        model: FusionModel,
        examples: Sequence[Tensor | Sources],
        recipe: Recipe,
        folder: Path,
        *,
        validation: Sequence[Tensor | Sources] = (),
        perceptual: nn.Module | None = None,
        about: dict[str, Any] | None = None,
        cases: Sequence[Case] = (),
        validation_cases: Sequence[Case] = (),
        device: str = "cpu",
        tensorboard: bool = False,
        save_every: int = 250,
        log_every: int = 50,
        doubts: Sequence[str] = (),
    ) -> None:
        recipe = recipe.weighed(perceptual is not None)
        _check_crop(recipe.crop, model)
        if not any(each.requires_grad for each in model.parameters()):
            raise TrainingError(f"the model {model.spec.id!r} has no weights to train; fuse with it as it is")
        self.processes: Processes = find_processes(device)
        self.device = self.processes.device
        self.model = model.to(self.device)
        # Channels-last weights make the convolutions faster; torch's stub of Module.to lacks the argument.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.examples, self.validation = _as_sources(examples), _as_sources(validation)
        self.recipe, self.folder = recipe, folder
        self.cases, self.validation_cases = cases, validation_cases
        network = perceptual.to(self.device) if perceptual is not None else None
        self.objectives = Objectives(recipe.gradient_weight, recipe.perceptual_weight or 0.0, network)
        self.about = about or {}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.rate)
        self.progress, self.best = Progress(steps=recipe.steps), Best()
        self.save_every, self.log_every, self.doubts = save_every, log_every, doubts
        self.logs: list[CsvLog | TensorBoardLog] = [CsvLog(folder / "log.csv")]
        if tensorboard:
            self.logs.append(TensorBoardLog(folder / "tensorboard"))

    @property
    def checkpoint(self) -> Path:
        """File from which a run goes on that was stopped, or that is given more steps."""
        return self.folder / CHECKPOINT

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.step

    def run(
        self,
        *,
        log_every: int | None = None,
        save_every: int | None = None,
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> Path:
        """Train to the last step and return the path of the final weights.

        They are those with the least validation loss, or, without validation examples, those of the last step.

        Raises:
            TrainingError: the loss is not finite, or the checkpoint is of another run, or of more steps.
        """
        self.save_every, self.log_every = save_every or self.save_every, log_every or self.log_every
        self._begin()
        while self.step < self.recipe.steps:
            started = time.perf_counter()
            row = self.train_step()
            row["seconds"] = time.perf_counter() - started
            if not self.processes.is_main:
                continue
            last = self.step == self.recipe.steps
            saving = last or self.step % self.save_every == 0
            if saving:
                row |= self._validate_and_keep_best()
            if last or "validation_loss" in row or self.step % self.log_every == 0:
                for log in self.logs:
                    log.write(row)
            # The row first: one behind the checkpoint is dropped on resuming, one that is lost would stay lost.
            if saving:
                self._save_checkpoint()
            if report is not None:
                report(row)
        if self.processes.is_main:
            self._finish()
        self.processes.wait()
        return self.folder / FINAL

    def train_step(self) -> dict[str, Any]:
        """Do one optimiser step and return what the log shows of it."""
        recipe, processes = self.recipe, self.processes
        # Dropout differs between processes, as it would between the parts of one large batch.
        torch.manual_seed((recipe.seed * 1_000_003 + self.step) * processes.count + processes.index)
        settling = recipe.settles(self.step)
        self.model.train(not settling)
        rate = recipe.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        whole = sample_batch(self.examples, recipe.batch * processes.count, recipe.crop, recipe.seed, self.step)
        batch = whole.share(processes.index, processes.count)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            loss, terms = self.model.training_loss([self._ready(each) for each in batch.sources], self.objectives)
        shown = {"loss": loss.detach().float(), **{name: value.detach().float() for name, value in terms.items()}}
        own = float(shown["loss"])
        if math.isfinite(own) or processes.count > 1:
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self._average([*shown.values()])
        self._check_finite(own, float(shown["loss"]), batch)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip or math.inf))
        if not math.isfinite(norm):
            raise TrainingError(self._not_finite(f"the gradients' norm is {norm}", batch))
        self.optimizer.step()
        self.progress = replace(self.progress, step=self.step + 1)
        phase = "settle" if settling else "train"
        return {
            "step": self.step,
            "phase": phase,
            "rate": rate,
            **{name: float(value) for name, value in shown.items()},
        }

    def _average(self, scalars: list[Tensor]) -> None:
        """Make scalars, gradients and BatchNorm's running statistics the means over the processes."""
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        statistics = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        self.processes.average([*scalars, *gradients, *statistics])

    def _check_finite(self, own: float, mean: float, batch: Batch) -> None:
        if not math.isfinite(own):
            raise TrainingError(self._not_finite(f"the loss is {own}", batch))
        if not math.isfinite(mean):
            raise TrainingError(f"the loss of another process is {mean} at step {self.step + 1}; it names the batch")

    def _ready(self, source: Tensor) -> Tensor:
        return source.to(self.device).contiguous(memory_format=torch.channels_last)

    def _not_finite(self, fact: str, batch: Batch) -> str:
        """Say of which batch something is not finite; weights and checkpoint are as they were before the step."""
        seen = []
        for crop in batch.crops:
            seen.append(f"{_name(self.cases, crop.example)} at row {crop.top}, column {crop.left}")
        return (
            f"{fact} at step {self.step + 1}, on the crops of {self.recipe.crop} pixels of {'; '.join(seen)}; "
            "look at these images, or lower --rate or --clip; the checkpoint is left as it was"
        )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the means over the validation images of the training objective and of its terms.

        Always in evaluation mode and float32, on whole images, as the weights will be used.

        Raises:
            TrainingError: a loss is not finite.
        """
        self.model.eval()
        rows = []
        for index, example in enumerate(self.validation):
            sources = [pad_to_multiple(self._ready(source[None]), self.model.spec.multiple) for source in example]
            loss, terms = self.model.training_loss(sources, self.objectives)
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"the validation loss of {_name(self.validation_cases, index)} is {loss.item()} after step "
                    f"{self.step}; look at this image, or lower --rate; the checkpoint is left as it was"
                )
            rows.append({"loss": loss.item(), **{name: value.item() for name, value in terms.items()}})
        return {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())}

    def _validate_and_keep_best(self) -> dict[str, Any]:
        found = self.validate()
        if not found:
            return {}
        self.best.update(self.step, found, self.model)
        row: dict[str, Any] = {"validation_loss": found["loss"], "best_step": self.best.step}
        return {**row, "validation_psnr": found["psnr"]} if "psnr" in found else row

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same in a run that goes on from the checkpoint."""
        facts = {"model": self.model.spec.id, "config": self.model.config, "processes": self.processes.count}
        return {**facts, **asdict(self.recipe), **self.about}

    def _save_checkpoint(self) -> None:
        save_checkpoint(self.checkpoint, self.model, self.optimizer, self.best, self.progress, self._identity())

    def _begin(self) -> None:
        """Make the folder, or take up what an earlier run left in it."""
        if self.processes.is_main:
            make_folder(self.folder)
            _check_own(self.folder, self.checkpoint)
            remove_stale_partials(self.folder)
        if self.checkpoint.exists():
            self._take_up()
        elif self.processes.is_main:
            for doubt in self.doubts:
                warnings.warn(doubt, FusekitWarning, stacklevel=3)
        # Nobody may train on, and the main process write, before all have read the same checkpoint.
        self.processes.wait()
        if self.processes.is_main:
            for log in self.logs:
                log.trim(self.step)
            self._write_config()

    def _take_up(self) -> None:
        """Go on from the checkpoint, to the steps that are asked for now."""
        found = load_checkpoint(self.checkpoint, self.model, self.optimizer, self.best, self._identity())
        if self.recipe.steps < found.step:
            raise TrainingError(
                f"the run in {self.folder} has done {found.step} steps already, and --steps {self.recipe.steps} asks "
                f"for fewer; choose --steps {found.step} or more, or another output folder"
            )
        self.progress = found.to(self.recipe.steps)
        if self.step == self.recipe.steps < found.steps and self.processes.is_main:
            self._save_checkpoint()

    def _write_config(self, result: dict[str, Any] | None = None) -> None:
        facts = {"model": self.model.spec.id, **self.model.config, "training": self._training_facts(result)}
        write_text_atomically(self.folder / "config.json", json.dumps(facts, indent=2) + "\n")

    def _training_facts(self, result: dict[str, Any] | None = None) -> dict[str, Any]:
        facts = {**asdict(self.recipe), **self.about}
        if self.processes.count > 1:
            facts["processes"] = self.processes.count
        if self.validation:
            facts["save_every"] = self.save_every
        if self.progress.extended:
            facts["extended"] = [dict(each) for each in self.progress.extended]
        return {**facts, "result": result} if result else facts

    def _finish(self) -> None:
        """Write the final weights, and the configuration and the model card with what came of them."""
        result: dict[str, Any] = {"step": self.step}
        if self.best.step:
            self.model.load_state_dict(self.best.tensors)
            result = {"step": self.best.step}
            result |= {f"validation_{name}": value for name, value in self.best.figures.items()}
        self.model.eval()
        facts, weights = self._training_facts(result), self.folder / FINAL
        save_weights(self.model, weights, {**self.model.header, "training": facts})
        self._write_config(result)
        write_card(self.folder / "README.md", self.model, weights, facts)


def _check_own(folder: Path, checkpoint: Path) -> None:
    """Raise `TrainingError` where a training that begins would replace files that none wrote."""
    if checkpoint.exists():
        return
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        config = None
    if isinstance(config, dict) and "training" in config:
        return
    for name in ("config.json", "log.csv", FINAL, "README.md"):
        if is_file(folder / name):
            raise TrainingError(
                f"{folder / name} is there already, and is of no training; choose another output folder, so that it is "
                "not replaced"
            )


def _as_sources(examples: Sequence[Tensor | Sources]) -> list[Sources]:
    return [(example,) if isinstance(example, Tensor) else tuple(example) for example in examples]


def _name(cases: Sequence[Case], index: int) -> str:
    """Return an example's files, or its number where they are not known."""
    return " + ".join(map(str, cases[index].files)) if cases else f"example {index + 1}"


def _check_crop(crop: int, model: FusionModel) -> None:
    """Refuse crops that the model would have to pad, or that are too small for it."""
    multiple, least = model.spec.multiple, model.spec.min_size
    if crop % multiple or crop < least:
        raise TrainingError(
            f"the model {model.spec.id!r} takes crops of {least} pixels or more that are a multiple of {multiple}, "
            f"not {crop}; choose --crop {max(-(-crop // multiple), -(-least // multiple)) * multiple}"
        )
