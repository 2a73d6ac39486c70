"""The checkpoint of a run: model, optimiser, best weights so far, and where the run stands, in one safetensors file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusekit.errors import TrainingError, WeightsError, one_line
from fusekit.weights.folders import is_checkpoint
from fusekit.weights.metadata import read_metadata
from fusekit.weights.store import check_fit, facts_in, read_tensors, save_tensors

_ADAM = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Best:
    """The weights with the least validation loss so far.

    Attributes:
        step: after which they were validated; 0 where nothing has been yet.
        figures: the means over the validation images of the loss and its terms.
        tensors: their state dict, on the CPU.
    """

    step: int = 0
    figures: dict[str, float] = field(default_factory=lambda: {"loss": math.inf})
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def update(self, step: int, figures: dict[str, float], model: nn.Module) -> None:
        """Take the weights of ``model`` if their loss is less than that of all before."""
        if figures["loss"] < self.figures["loss"]:
            self.step, self.figures = step, figures
            self.tensors = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: steps done.
        steps: that it is to have.
        extended: the numbers of steps that it was to have before, each with ``after``, the step at which that changed.
    """

    step: int = 0
    steps: int = 0
    extended: tuple[Mapping[str, int], ...] = ()

    def to(self, steps: int) -> Progress:
        """Return the progress of the run when it is given another number of steps."""
        if steps == self.steps or not self.step:
            return replace(self, steps=steps)
        # A number that no step was done by is not worth telling.
        kept = tuple(each for each in self.extended if each["after"] < self.step)
        told = self.extended[len(kept)] if len(kept) < len(self.extended) else {"after": self.step, "steps": self.steps}
        return replace(self, steps=steps, extended=(*kept, told) if told["steps"] != steps else kept)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Best,
    progress: Progress,
    identity: Mapping[str, Any],
) -> None:
    """Write all that the steps to come depend on, atomically.

    Args:
        path: the file.
        model, optimizer, best: their state; the optimiser is Adam.
        progress: how far the run is.
        identity: facts that must be the same for a run that goes on from this file, as far as JSON can hold them; but
            for ``steps``.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in best.tensors.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = value
    header: dict[str, Any] = {"step": progress.step, "identity": dict(identity)}
    if progress.extended:
        header["extended"] = [dict(each) for each in progress.extended]
    if best.step:
        header["best"] = {"step": best.step, "figures": best.figures}
    save_tensors({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path, header)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, best: Best, identity: Mapping[str, Any]
) -> Progress:
    """Fill model, optimiser and best weights from ``path`` and return how far the run is.

    Raises:
        TrainingError: the file is of a run with other facts.
        WeightsError: the file is damaged or does not fit the model.
    """
    header = read_metadata(path)
    if not is_checkpoint(header):
        raise WeightsError(f"{path} is not the checkpoint of a run; choose another output folder")
    theirs, ours = header["identity"], json.loads(json.dumps(dict(identity)))
    changed = [key for key in (*ours, *(theirs.keys() - ours.keys())) if theirs.get(key) != ours.get(key)]
    if set(changed) - {"steps"}:
        raise TrainingError(
            f"{path} was trained with another {', '.join(each for each in changed if each != 'steps')}; "
            "choose another output folder, or the same settings to resume"
        )
    check_fit(model, facts_in(path, "model."), path, str(ours.get("model")))
    try:
        _fill(read_tensors(path), header, model, optimizer, best)
        extended = tuple({key: int(each[key]) for key in ("after", "steps")} for each in header.get("extended", ()))
        return Progress(header["step"], int(theirs["steps"]), extended)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged ({one_line(error)}); choose another output folder") from error


def _fill(
    tensors: dict[str, Tensor],
    header: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Best,
) -> None:
    model.load_state_dict(_part(tensors, "model."))
    for name, parameter in model.named_parameters():
        if f"adam.step.{name}" not in tensors:
            continue
        # The step counter stays on the CPU, where Adam keeps it.
        state = {key: tensors[f"adam.{key}.{name}"] for key in _ADAM}
        optimizer.state[parameter] = {
            key: value if key == "step" else value.to(parameter.device).contiguous(memory_format=torch.preserve_format)
            for key, value in state.items()
        }
    if "best" in header:
        best.step, best.figures = int(header["best"]["step"]), dict(header["best"]["figures"])
        best.tensors = _part(tensors, "best.")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
