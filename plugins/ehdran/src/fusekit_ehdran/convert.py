"""Key names of the authors' published checkpoints, mapped to ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fusekit.extend import WeightsError

# The authors' module prefix → ours. The decoder's indices depend on whether activations stand between its convolutions.
_MODULES = {
    "fe.conv1": "encoder.shallow",
    "fe.fe.convd1": "encoder.multiscale.dilated.0",
    "fe.fe.convd2": "encoder.multiscale.dilated.1",
    "fe.fe.convd3": "encoder.multiscale.dilated.2",
    "fe.fe.reduce": "encoder.multiscale.reduce",
    "fe.fe.bnorm1": "encoder.norm",
    "fe.fe.dilran.conv_d": "encoder.residual_attention.shared",
    "fe.edge_enhance.dense.conv1.conv": "encoder.edge.dense.first",
    "fe.edge_enhance.dense.conv2.conv": "encoder.edge.dense.second",
    "fe.edge_enhance.convdown.conv": "encoder.edge.dense.project",
    "fe.edge_enhance.sobelconv.convx": "encoder.edge.gradient.along_x",
    "fe.edge_enhance.sobelconv.convy": "encoder.edge.gradient.along_y",
    "fe.edge_enhance.convup.conv": "encoder.edge.gradient.project",
    "recon.recon_conv.0": "decoder.convolutions.0",
}
_DECODER_WITH_ACTIVATIONS = {
    "recon.recon_conv.2": "decoder.convolutions.1",
    "recon.recon_conv.4": "decoder.convolutions.2",
}
_DECODER_WITHOUT = {"recon.recon_conv.1": "decoder.convolutions.1", "recon.recon_conv.2": "decoder.convolutions.2"}

#: Modules that the authors' classes construct and never call.
_UNUSED = ("fe.conv_id.", "fe.conv2.", "fe.bnorm.", "fe.fe.dilran.bnorm.")


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' keys, drop their unused modules, and cast to float32.

    A state dict that has our names already is returned as it is.

    Raises:
        WeightsError: a key belongs to neither.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if any(key.startswith("encoder.") for key in state):
        return state
    linear = "recon.recon_conv.1.weight" in state
    modules = {**_MODULES, **(_DECODER_WITHOUT if linear else _DECODER_WITH_ACTIVATIONS)}
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith(_UNUSED):
            continue
        module, _, parameter = key.rpartition(".")
        if module not in modules:
            raise WeightsError(f"the key {key!r} is not one of the authors' EH-DRAN or DILRAN networks")
        converted[f"{modules[module]}.{parameter}"] = value.float() if value.is_floating_point() else value
    # The authors' own exports may leave out the counter, which evaluation does not use.
    if "encoder.norm.weight" in converted:
        converted.setdefault("encoder.norm.num_batches_tracked", torch.tensor(0))
    return converted
