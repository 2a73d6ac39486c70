"""Key names of the authors' published checkpoints, mapped to ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from fusekit.extend import FusekitWarning

_MODULES = {
    "Extraction.conv1": "encoder.shallow",
    "Extraction.block.conv1": "encoder.wide",
    "Extraction.block.conv2": "encoder.middle",
    "Extraction.block.conv3": "encoder.narrow",
    "Extraction.block.norm": "encoder.norm",
    "Reconstruction.conv0": "decoder.first",
    "Reconstruction.conv1": "decoder.second",
    "Reconstruction.conv2": "decoder.last",
}
#: What only a normalisation by running statistics has.
_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def from_authors(state: Mapping[str, Tensor], statistics: str = "image") -> dict[str, Tensor]:
    """Rename the authors' keys, and cast to float32; a state dict of other names stays as it is.

    One line names what is left out: the running statistics, which a network of the statistics ``image`` does not use.

    Args:
        state: by the authors' names.
        statistics: of the network that it is for, see `fusekit_msdra.network.Encoder`.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if "Extraction.conv1.weight" not in state:
        return state
    converted: dict[str, Tensor] = {}
    unused = []
    for key, value in state.items():
        module, _, parameter = key.rpartition(".")
        if statistics == "image" and parameter in _RUNNING:
            unused.append(key)
            continue
        name = f"{_MODULES.get(module, module)}.{parameter}"
        converted[name] = value.float() if value.is_floating_point() else value
        if parameter == "running_var":
            # Exports may leave out the counter, which evaluation does not use.
            converted.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    if unused:
        warnings.warn(
            "of the checkpoint these are left out, as each image is normalised by its own statistics: "
            + ", ".join(sorted(unused)),
            FusekitWarning,
            stacklevel=3,
        )
    return converted
