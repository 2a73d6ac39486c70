"""How to train, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fusekit.errors import TrainingError
from fusekit.options import choice, documented

#: λ₂ of the paper's command line.
PERCEPTUAL_WEIGHT = 0.2


@documented
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train."""

    steps: int = choice(6000, "Optimiser steps, 1 or more; of a run that was begun all, so that more go on with it.")
    batch: int = choice(4, "Crops a step, of each process.")
    crop: int = choice(96, "Side of the square crops, pixels, 16 or more.")
    rate: float = choice(1e-3, "Peak learning rate of Adam, above 0; cosine decay to 1 %.")
    warm_up: float = choice(0.02, "Share of the steps, at the start, in which the rate rises; 0 to 1.")
    gradient_weight: float = choice(0.2, "Weight of the gradient term (λ₁), 0 or more.")
    perceptual_weight: float | None = choice(
        None,
        f"Weight of the perceptual term (λ₂), 0 or more; {PERCEPTUAL_WEIGHT} with --perceptual by default, 0 without.",
    )
    # BatchNorm by its running statistics, no dropout: the weights are fitted to the mode in which they will be used.
    settle: float = choice(0.5, "Share of the steps, at the end, in evaluation mode; 0 to 1.")
    precision: str = choice("float32", "float32, or bfloat16 by autocast; weights stay float32.")
    clip: float = choice(1.0, "Greatest norm of the gradients, which are scaled down to it; 0 for any.")
    seed: int = choice(3407, "Seed of all that is drawn.")

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.crop < 16 or self.rate <= 0 or not 0 <= self.settle <= 1:
            raise TrainingError(
                "training needs steps and batch of 1 or more, crops of 16 or more, a positive rate, and settle "
                "from 0 to 1"
            )
        if not 0 <= self.warm_up <= 1 or self.clip < 0:
            raise TrainingError("training needs a warm-up from 0 to 1 and a clip of 0 or more")
        if min(self.gradient_weight, self.perceptual_weight or 0.0) < 0:
            raise TrainingError("the weights of the gradient and the perceptual term must be 0 or more")
        if self.precision not in ("float32", "bfloat16"):
            raise TrainingError(f"unknown precision {self.precision!r}; float32 or bfloat16")

    def weighed(self, with_network: bool) -> Recipe:
        """Return the recipe with the weight of the perceptual term decided, by whether there is a network for it.

        Raises:
            TrainingError: the term is weighed, and there is none.
        """
        if self.perceptual_weight is None:
            return replace(self, perceptual_weight=PERCEPTUAL_WEIGHT if with_network else 0.0)
        if self.perceptual_weight > 0 and not with_network:
            raise TrainingError(
                "the perceptual term needs a network: give --perceptual FILE, or set --perceptual-weight 0"
            )
        return self

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
