"""Which weights a folder holds: those of ``model.save`` and of the hub, or those of a run of ``fusekit train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from fusekit.errors import WeightsError
from fusekit.machine.files import is_file
from fusekit.machine.parsing import read_json
from fusekit.weights.hub import CONFIG, WEIGHTS
from fusekit.weights.metadata import read_metadata

#: What a run leaves when it has ended, and what it goes on from before that.
FINAL, CHECKPOINT = "weights.safetensors", "checkpoint.safetensors"


class Held(NamedTuple):
    """Weights that lie in a folder.

    Attributes:
        path: the safetensors file.
        prefix: before the model's keys in it.
        note: what a user has to know of them, a line; empty where there is nothing.
    """

    path: Path
    prefix: str = ""
    note: str = ""


def weights_in(folder: Path) -> Held:
    """Return the weights of a folder.

    Raises:
        WeightsError: it holds none, or two sets of which nobody can say which is meant.
    """
    saved, final, checkpoint = (folder / name for name in (WEIGHTS, FINAL, CHECKPOINT))
    if is_file(saved) and is_file(final):
        raise WeightsError(f"the folder {folder} holds both {WEIGHTS} and {FINAL}; name one of these files")
    if is_file(saved):
        return Held(saved)
    if is_file(final):
        return Held(final, note=_going_on(folder, final, checkpoint))
    if is_file(checkpoint):
        return of_checkpoint(checkpoint, read_metadata(checkpoint))
    if _is_of_a_run(folder):
        raise WeightsError(
            f"the run in {folder} has not ended, and has no checkpoint yet; go on with it by the command that began it"
        )
    raise WeightsError(
        f"the folder {folder} holds no {WEIGHTS}, as model.save writes, and no {FINAL}, as fusekit train does; name "
        "the weights file itself"
    )


def is_checkpoint(metadata: dict[str, Any]) -> bool:
    """Return whether a file is the checkpoint of a run, by its header."""
    return "identity" in metadata and type(metadata.get("step")) is int


def of_checkpoint(path: Path, metadata: dict[str, Any]) -> Held:
    """Return the best weights of a checkpoint by validation, or without validation the last ones.

    Args:
        path: the checkpoint.
        metadata: what its header says.

    Raises:
        WeightsError: it is none.
    """
    if not is_checkpoint(metadata):
        raise WeightsError(f"{path} is not the checkpoint of a run; name the weights file itself")
    done, best = metadata["step"], metadata.get("best", {}).get("step")
    steps, taken = metadata["identity"].get("steps"), done if best is None else best
    which = "its last weights" if best is None else f"its best weights so far by validation, those of step {taken},"
    return Held(
        path,
        "model." if best is None else "best.",
        f"the run in {path.parent} has not ended (step {done} of {steps}); {which} are taken; the command that began "
        "it goes on with it",
    )


def _going_on(folder: Path, final: Path, checkpoint: Path) -> str:
    """Say so where a run that had ended was given more steps and has not done them yet."""
    try:
        metadata = read_metadata(checkpoint) if is_file(checkpoint) else {}
    except WeightsError:
        return ""
    if not is_checkpoint(metadata):
        return ""
    done, steps = metadata["step"], metadata["identity"].get("steps")
    if type(steps) is not int or done >= steps:
        return ""
    before = read_metadata(final).get("training", {}).get("steps")
    return (
        f"the run in {folder} was given more steps and has not ended (step {done} of {steps}); the weights of its "
        f"first {before} steps are taken; the command that continued it goes on with it"
    )


def _is_of_a_run(folder: Path) -> bool:
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "training" in config
