"""How to train, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fusekit.errors import TrainingError


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        steps: optimiser steps.
        batch: crops a step, of each process.
        crop: side of the square crops, pixels.
        rate: peak learning rate of Adam.
        warm_up: share of the steps, at the start, over which the rate rises; it then falls on a cosine to 1 % of the
            peak.
        gradient_weight: λ₁ of the gradient term.
        perceptual_weight: λ₂ of the perceptual term.
        settle: share of the steps, at the end, trained in evaluation mode: BatchNorm by its running statistics, no
            dropout, so that the weights are fitted to the mode in which they will be used.
        precision: ``float32`` or ``bfloat16`` (autocast; weights stay float32).
        clip: greatest norm of the gradients, which are scaled down to it; 0 leaves them as they are.
        seed: of everything drawn.
    """

    steps: int = 6000
    batch: int = 4
    crop: int = 96
    rate: float = 1e-3
    warm_up: float = 0.02
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
        if not 0 <= self.warm_up <= 1 or self.clip < 0:
            raise TrainingError("training needs a warm-up from 0 to 1 and a clip of 0 or more")
        if min(self.gradient_weight, self.perceptual_weight) < 0:
            raise TrainingError("the weights of the gradient and the perceptual term must be 0 or more")
        if self.precision not in ("float32", "bfloat16"):
            raise TrainingError(f"unknown precision {self.precision!r}; float32 or bfloat16")

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0: linear over the warm-up, then cosine down to 1 %."""
        rising = max(1, int(self.steps * self.warm_up))
        if step < rising:
            return self.rate * (step + 1) / rising
        progress = (step - rising) / max(1, self.steps - rising)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def settles(self, step: int) -> bool:
        """Return whether a step, counted from 0, is trained in evaluation mode."""
        return step >= self.steps * (1 - self.settle)
