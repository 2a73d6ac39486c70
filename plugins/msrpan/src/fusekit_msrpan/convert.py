"""Key names of the authors' published checkpoint, mapped to ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from fusekit.extend import FusekitWarning

_MODULES = {
    "Extraction.conv0": "encoder.shallow",
    "Extraction.block.conv1": "encoder.block.shared",
    "Extraction.block.norm": "encoder.block.norm",
    "Reconstruction.conv0": "decoder.first",
    "Reconstruction.conv1": "decoder.second",
    "Reconstruction.conv2": "decoder.last",
}
#: Modules of the checkpoint that the authors' network does not call.
_UNUSED = {"Extraction.block.conv0", "Extraction.block.conv2", "Extraction.block.conv3"}


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' keys, and cast to float32; a state dict of other names stays as it is.

    One line names what is left out, the modules that the authors' network does not call.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if "Extraction.conv0.weight" not in state:
        return state
    converted: dict[str, Tensor] = {}
    unused = []
    for key, value in state.items():
        module, _, parameter = key.rpartition(".")
        if module in _UNUSED:
            unused.append(key)
            continue
        name = f"{_MODULES.get(module, module)}.{parameter}"
        converted[name] = value.float() if value.is_floating_point() else value
        if parameter == "running_var":
            # Exports may leave out the counter, which evaluation does not use.
            converted.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    if unused:
        warnings.warn(
            f"of the checkpoint these are left out, as the network never calls them: {', '.join(sorted(unused))}",
            FusekitWarning,
            stacklevel=3,
        )
    return converted
