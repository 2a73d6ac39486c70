"""The trainer: reconstruct single images, resumable and seeded.

Each step is a function of the seed, its number, the weights and the optimiser's state, and all of that is in the
checkpoint; so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusekit.errors import TrainingError, WeightsError
from fusekit.files import remove_stale_partials, write_text_atomically
from fusekit.model import EncoderDecoder
from fusekit.train.data import sample_batch
from fusekit.train.objectives import PrunedVGG19, gradient_loss, perceptual_loss, pixel_loss
from fusekit.weights.store import read_metadata, read_tensors, save_tensors, save_weights

_COLUMNS = ("step", "phase", "rate", "loss", "pixel", "gradient", "perceptual", "psnr", "validation_psnr", "seconds")


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
    """Trains an encoder-decoder to reconstruct images.

    Args:
        model: freshly constructed.
        images: (1, H, W) float tensors in [0, 1].
        recipe: how.
        folder: where checkpoint, log and final weights go; a checkpoint found there is resumed.
        validation: images to report the reconstruction of; never trained on.
        perceptual: network of the perceptual term, or ``None`` to leave the term out.
        about: facts for the weights' header and ``config.json`` (data, split, …).
        device: where to train.
    """

    def __init__(
        self,
        model: EncoderDecoder,
        images: list[Tensor],
        recipe: Recipe,
        folder: Path,
        *,
        validation: list[Tensor] | None = None,
        perceptual: PrunedVGG19 | None = None,
        about: dict[str, Any] | None = None,
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
        self.images, self.validation = images, validation or []
        self.recipe, self.folder = recipe, folder
        self.perceptual = perceptual.to(self.device) if perceptual is not None else None
        self.about = about or {}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.rate)
        self.step = 0

    @property
    def checkpoint(self) -> Path:
        """File from which a killed run goes on."""
        return self.folder / "checkpoint.safetensors"

    def run(
        self, *, log_every: int = 50, save_every: int = 250, report: Callable[[dict[str, Any]], None] | None = None
    ) -> Path:
        """Train to the last step and return the path of the final weights.

        Raises:
            TrainingError: the loss is not finite, or the checkpoint is of another recipe.
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
            if self.step % save_every == 0 or last:
                row["validation_psnr"] = self.validate()
                self._save_checkpoint()
            if self.step % log_every == 0 or last:
                self._log(row)
            if report is not None:
                report(row)
        final = self.folder / "weights.safetensors"
        save_weights(self.model, final, {"training": {**asdict(self.recipe), **self.about}})
        return final

    def train_step(self) -> dict[str, Any]:
        """Do one optimiser step and return what the log shows of it."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        settling = self.step >= recipe.steps * (1 - recipe.settle)
        self.model.train(not settling)
        rate = self._rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = sample_batch(self.images, recipe.batch, recipe.crop, recipe.seed, self.step).to(self.device)
        loss, terms = self._loss(batch.contiguous(memory_format=torch.channels_last))
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.step + 1}, with the batch drawn from seed {recipe.seed}; "
                "lower the rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimizer.step()
        self.step += 1
        phase = "settle" if settling else "train"
        return {"step": self.step, "phase": phase, "rate": rate, "loss": loss.item(), **terms}

    def _loss(self, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        recipe = self.recipe
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            reconstructed = self.model.reconstruct(batch)
        reconstructed = reconstructed.float()
        pixel = pixel_loss(batch, reconstructed)
        gradient = gradient_loss(batch, reconstructed)
        total = pixel + recipe.gradient_weight * gradient
        terms = {"pixel": pixel.item(), "gradient": gradient.item(), "psnr": -10 * math.log10(max(pixel.item(), 1e-12))}
        if self.perceptual is not None and recipe.perceptual_weight > 0:
            with torch.no_grad():
                of_batch = self.perceptual(batch)
            perceptual = perceptual_loss(of_batch, self.perceptual(reconstructed))
            total = total + recipe.perceptual_weight * perceptual
            terms["perceptual"] = perceptual.item()
        return total, terms

    def _rate(self, step: int) -> float:
        """Return the learning rate: linear over the first 2 % of the steps, then cosine down to 1 %."""
        warm_up = max(1, self.recipe.steps // 50)
        if step < warm_up:
            return self.recipe.rate * (step + 1) / warm_up
        progress = (step - warm_up) / max(1, self.recipe.steps - warm_up)
        return self.recipe.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    @torch.no_grad()
    def validate(self) -> float | None:
        """Return the mean reconstruction PSNR in dB over the validation images, in evaluation mode."""
        if not self.validation:
            return None
        self.model.eval()
        values = []
        for image in self.validation:
            reconstructed = self.model.reconstruct(image[None].to(self.device)).clamp(0, 1)
            error = pixel_loss(image[None].to(self.device), reconstructed).item()
            values.append(-10 * math.log10(max(error, 1e-12)))
        return sum(values) / len(values)

    def _save_checkpoint(self) -> None:
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        state = {"step": self.step, "recipe": asdict(self.recipe), "model": self.model.spec.id}
        save_tensors(tensors, self.checkpoint, state)

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            self._trim_log()
            return
        metadata, tensors = read_metadata(self.checkpoint), read_tensors(self.checkpoint)
        recipe = metadata.get("recipe", {})
        changed = [key for key, value in asdict(self.recipe).items() if recipe.get(key) != value]
        if metadata.get("model") != self.model.spec.id:
            changed.insert(0, "model")
        if changed:
            raise TrainingError(
                f"{self.checkpoint} was trained with another {', '.join(changed)}; "
                "choose another output folder, or the same settings to resume"
            )
        try:
            self.model.load_state_dict(_part(tensors, "model."))
        except RuntimeError as error:
            raise WeightsError(f"{self.checkpoint} does not fit the model: {error}") from error
        for name, parameter in self.model.named_parameters():
            state = {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            self.optimizer.state[parameter] = {
                key: value if key == "step" else value.to(self.device).contiguous(memory_format=torch.preserve_format)
                for key, value in state.items()
            }
        self.step = int(metadata["step"])
        self._trim_log()

    def _write_config(self) -> None:
        facts = {"model": self.model.spec.id, **self.model.config, "training": {**asdict(self.recipe), **self.about}}
        write_text_atomically(self.folder / "config.json", json.dumps(facts, indent=2) + "\n")

    def _log(self, row: dict[str, Any]) -> None:
        path = self.folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            if fresh:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})

    def _trim_log(self) -> None:
        """Drop rows behind the checkpoint: they will be computed again."""
        path = self.folder / "log.csv"
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines() or [",".join(_COLUMNS)]
        kept = [line for line in lines[1:] if int(line.split(",")[0]) <= self.step]
        write_text_atomically(path, "\n".join([lines[0], *kept]) + "\n")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
