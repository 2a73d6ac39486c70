"""The checkpoint of a run: model, optimiser, best weights so far, and where the run stands, in one safetensors file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusekit.errors import TrainingError, WeightsError
from fusekit.weights.store import read_metadata, read_tensors, save_tensors

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


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, best: Best, step: int, identity: Mapping[str, Any]
) -> None:
    """Write all that the steps behind ``step`` depend on, atomically.

    Args:
        path: the file.
        model, optimizer, best: their state; the optimiser is Adam.
        step: steps done.
        identity: facts that must be the same for a run that goes on from this file, as far as JSON can hold them.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in best.tensors.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = value
    header: dict[str, Any] = {"step": step, "identity": dict(identity)}
    if best.step:
        header["best"] = {"step": best.step, "figures": best.figures}
    save_tensors({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path, header)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, best: Best, identity: Mapping[str, Any]
) -> int:
    """Fill model, optimiser and best weights from ``path`` and return the steps done.

    Raises:
        TrainingError: the file is of a run with other facts.
        WeightsError: the file is damaged or does not fit the model.
    """
    header, tensors = read_metadata(path), read_tensors(path)
    theirs, ours = header.get("identity", {}), json.loads(json.dumps(dict(identity)))
    changed = [key for key in ours if theirs.get(key) != ours[key]]
    if changed:
        raise TrainingError(
            f"{path} was trained with another {', '.join(changed)}; "
            "choose another output folder, or the same settings to resume"
        )
    try:
        model.load_state_dict(_part(tensors, "model."))
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the model: {error}") from error
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
    return int(header["step"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
