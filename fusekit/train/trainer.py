"""The trainer: seeded, resumable to the bit, best weights by validation.

Each step is a function of the seed, its number, the weights and the optimiser's state, and all of that is in the
checkpoint; so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusekit.errors import TrainingError
from fusekit.files import remove_stale_partials, write_text_atomically
from fusekit.geometry import pad_to_multiple
from fusekit.model import FusionModel
from fusekit.train.checkpoint import Best, load_checkpoint, save_checkpoint
from fusekit.train.data import Batch, Sources, sample_batch
from fusekit.train.log import CsvLog
from fusekit.train.objectives import Objectives
from fusekit.train.series import Files
from fusekit.weights.store import save_weights


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        steps: optimiser steps.
        batch: crops a step.
        crop: side of the square crops, pixels.
        rate: peak learning rate of Adam; cosine decay to 1 % of it after a short linear warm-up.
        gradient_weight: λ₁ of the gradient term.
        perceptual_weight: λ₂ of the perceptual term.
        settle: share of the steps, at the end, trained in evaluation mode: BatchNorm by its running statistics, no
            dropout, so that the weights are fitted to the mode in which they will be used.
        precision: ``float32`` or ``bfloat16`` (autocast; weights stay float32).
        clip: greatest norm of the gradients.
        seed: of everything drawn.
    """

    steps: int = 6000
    batch: int = 4
    crop: int = 96
    rate: float = 1e-3
    gradient_weight: float = 0.2
    perceptual_weight: float = 0.2
    settle: float = 0.5
    precision: str = "float32"
    clip: float = 1.0
    seed: int = 3407

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.crop < 16 or self.rate <= 0 or not 0 <= self.settle <= 1:
            raise TrainingError(
                "training needs steps and batch of 1 or more, crops of 16 or more, a positive rate, and settle "
                "from 0 to 1"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise TrainingError(f"unknown precision {self.precision!r}; float32 or bfloat16")


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
        files: the files of each example, to name a batch by.
        device: where to train.
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
        files: Sequence[Files] = (),
        device: str = "cpu",
    ) -> None:
        if recipe.perceptual_weight > 0 and perceptual is None:
            raise TrainingError(
                "the perceptual term needs a network: give --perceptual FILE, or set --perceptual-weight 0"
            )
        self.device = torch.device(device)
        self.model = model.to(self.device)
        # Channels-last weights make the convolutions faster; torch's stub of Module.to lacks the argument.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.examples, self.validation = _as_sources(examples), _as_sources(validation)
        self.recipe, self.folder, self.files = recipe, folder, files
        network = perceptual.to(self.device) if perceptual is not None else None
        self.objectives = Objectives(recipe.gradient_weight, recipe.perceptual_weight, network)
        self.about = about or {}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.rate)
        self.step, self.best = 0, Best()
        self.log = CsvLog(folder / "log.csv")

    @property
    def checkpoint(self) -> Path:
        """File from which a killed run goes on."""
        return self.folder / "checkpoint.safetensors"

    def run(
        self, *, log_every: int = 50, save_every: int = 250, report: Callable[[dict[str, Any]], None] | None = None
    ) -> Path:
        """Train to the last step and return the path of the final weights.

        They are those with the least validation loss, or, without validation examples, those of the last step.

        Raises:
            TrainingError: the loss is not finite, or the checkpoint is of another run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(self.folder)
        self._resume()
        self._write_config()
        while self.step < self.recipe.steps:
            started = time.perf_counter()
            row = self.train_step()
            row["seconds"] = time.perf_counter() - started
            last = self.step == self.recipe.steps
            saving = last or self.step % save_every == 0
            if saving:
                row |= self._validate_and_keep_best()
            if last or "validation_loss" in row or self.step % log_every == 0:
                self.log.write(row)
            # The row first: one behind the checkpoint is dropped on resuming, one that is lost would stay lost.
            if saving:
                self._save_checkpoint()
            if report is not None:
                report(row)
        return self._finish()

    def train_step(self) -> dict[str, Any]:
        """Do one optimiser step and return what the log shows of it."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        settling = self.step >= recipe.steps * (1 - recipe.settle)
        self.model.train(not settling)
        rate = self._rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = sample_batch(self.examples, recipe.batch, recipe.crop, recipe.seed, self.step)
        sources = [self._ready(source) for source in batch.sources]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            loss, terms = self.model.training_loss(sources, self.objectives)
        if not math.isfinite(loss.item()):
            raise TrainingError(self._not_finite(f"the loss is {loss.item()}", batch))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip).item()
        if not math.isfinite(norm):
            raise TrainingError(self._not_finite(f"the gradients' norm is {norm}", batch))
        self.optimizer.step()
        self.step += 1
        shown = {name: value.item() for name, value in terms.items()}
        phase = "settle" if settling else "train"
        return {"step": self.step, "phase": phase, "rate": rate, "loss": loss.item(), **shown}

    def _ready(self, source: Tensor) -> Tensor:
        return source.to(self.device).contiguous(memory_format=torch.channels_last)

    def _not_finite(self, fact: str, batch: Batch) -> str:
        """Say of which batch something is not finite; weights and checkpoint are as they were before the step."""
        seen = []
        for crop in batch.crops:
            files = self.files[crop.example] if self.files else (f"example {crop.example + 1}",)
            seen.append(f"{' + '.join(map(str, files))} at row {crop.top}, column {crop.left}")
        return (
            f"{fact} at step {self.step + 1}, on the crops of {self.recipe.crop} pixels of {'; '.join(seen)}; "
            "look at these images, or lower --rate or --clip; the checkpoint is left as it was"
        )

    def _rate(self, step: int) -> float:
        """Return the learning rate: linear over the first 2 % of the steps, then cosine down to 1 %."""
        warm_up = max(1, self.recipe.steps // 50)
        if step < warm_up:
            return self.recipe.rate * (step + 1) / warm_up
        progress = (step - warm_up) / max(1, self.recipe.steps - warm_up)
        return self.recipe.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the means over the validation images of the training objective and of its terms.

        Always in evaluation mode and float32, on whole images, as the weights will be used.
        """
        self.model.eval()
        rows = []
        for example in self.validation:
            sources = [pad_to_multiple(self._ready(source[None]), self.model.spec.multiple) for source in example]
            loss, terms = self.model.training_loss(sources, self.objectives)
            rows.append({"loss": loss.item(), **{name: value.item() for name, value in terms.items()}})
        return {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())}

    def _validate_and_keep_best(self) -> dict[str, Any]:
        found = self.validate()
        if not found:
            return {}
        if not math.isfinite(found["loss"]):
            raise TrainingError(f"the validation loss is {found['loss']} after step {self.step}; look at these images")
        self.best.update(self.step, found["loss"], self.model)
        row: dict[str, Any] = {"validation_loss": found["loss"], "best_step": self.best.step}
        return {**row, "validation_psnr": found["psnr"]} if "psnr" in found else row

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same in a run that goes on from the checkpoint."""
        return {"model": self.model.spec.id, "config": self.model.config, **asdict(self.recipe), **self.about}

    def _save_checkpoint(self) -> None:
        save_checkpoint(self.checkpoint, self.model, self.optimizer, self.best, self.step, self._identity())

    def _resume(self) -> None:
        if self.checkpoint.exists():
            self.step = load_checkpoint(self.checkpoint, self.model, self.optimizer, self.best, self._identity())
        self.log.trim(self.step)

    def _write_config(self, result: dict[str, Any] | None = None) -> None:
        facts = {"model": self.model.spec.id, **self.model.config, "training": self._training_facts(result)}
        write_text_atomically(self.folder / "config.json", json.dumps(facts, indent=2) + "\n")

    def _training_facts(self, result: dict[str, Any] | None = None) -> dict[str, Any]:
        return {**asdict(self.recipe), **self.about, **({"result": result} if result else {})}

    def _finish(self) -> Path:
        """Write the final weights and return their path."""
        result: dict[str, Any] = {"step": self.step}
        if self.best.step:
            self.model.load_state_dict(self.best.tensors)
            result = {"step": self.best.step, "validation_loss": self.best.loss}
        self.model.eval()
        final = self.folder / "weights.safetensors"
        save_weights(self.model, final, {"training": self._training_facts(result)})
        self._write_config(result)
        return final


def _as_sources(examples: Sequence[Tensor | Sources]) -> list[Sources]:
    return [(example,) if isinstance(example, Tensor) else tuple(example) for example in examples]
