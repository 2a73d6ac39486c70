"""Key names of the authors' published checkpoints, mapped to ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_MODULES = {
    "conv1": "encoder.first",
    "conv2.conv": "encoder.second.convolution",
    "conv2.bn": "encoder.second.norm",
    "conv3.conv": "decoder.third.convolution",
    "conv3.bn": "decoder.third.norm",
    "conv4": "decoder.last",
}


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' keys, and cast to float32; keys of other names stay as they are."""
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        module, _, parameter = key.removeprefix("module.").rpartition(".")
        name = f"{_MODULES.get(module, module)}.{parameter}"
        converted[name] = value.float() if value.is_floating_point() else value
        if parameter == "running_var":
            # Exports may leave out the counter, which evaluation does not use.
            converted.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    return converted
