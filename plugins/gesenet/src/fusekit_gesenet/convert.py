"""Key names of the authors' published checkpoint, mapped to ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fusekit.extend import WeightsError

#: Module prefixes of a source in the authors' names, and in ours.
_BRANCHES = {"vis": "first", "inf": "second"}
#: The modules of a source in the authors' names, without the prefix, and in ours.
_OF_A_BRANCH = {
    "conv.conv": "shallow",
    "eem.dense.conv1.conv": "edges.first",
    "eem.dense.conv2.conv": "edges.second",
    "eem.convdown.conv": "edges.dense",
    "eem.sobelconv.convx": "edges.along_x",
    "eem.sobelconv.convy": "edges.along_y",
    "eem.convup.conv": "edges.gradient",
    "rmm.body.collect": "region.join",
    "rmm.ca.conv_du.0": "region.squeeze",
    "rmm.ca.conv_du.2": "region.excite",
    **{f"rmm.spa_mask.{index}": f"region.spatial.{index}" for index in (0, 3, 5)},
    **{f"rmm.body.body.{index}": f"region.layers.{index}" for index in range(4)},
}
_MODULES = {
    **{f"{theirs}_{old}": f"{ours}.{new}" for theirs, ours in _BRANCHES.items() for old, new in _OF_A_BRANCH.items()},
    "sft.SFT_scale_conv0": "refinement.scale.0",
    "sft.SFT_scale_conv1": "refinement.scale.1",
    "sft.SFT_shift_conv0": "refinement.shift.0",
    "sft.SFT_shift_conv1": "refinement.shift.1",
    "sft.SFT2": "refinement.mix",
    "decoder2.conv": "decoder.first",
    "decoder1.conv": "decoder.last",
}
_PARAMETERS = {f"{theirs}_rmm.body.ch_mask": f"{ours}.region.channel_logits" for theirs, ours in _BRANCHES.items()}

#: Keys of modules that the authors' class constructs and never calls.
UNUSED = (
    "decoder1.bn.weight",
    "decoder1.bn.bias",
    "decoder1.bn.running_mean",
    "decoder1.bn.running_var",
    "decoder1.bn.num_batches_tracked",
)


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' keys, leave out `UNUSED` ones, and cast to float32.

    A state dict that has our names already is returned as it is.

    Raises:
        WeightsError: a key belongs to neither.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if any(key.startswith("first.") for key in state):
        return state
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in UNUSED:
            continue
        module, _, parameter = key.rpartition(".")
        if key not in _PARAMETERS and module not in _MODULES:
            raise WeightsError(f"the key {key!r} is not one of the authors' GeSeNet")
        name = _PARAMETERS.get(key) or f"{_MODULES[module]}.{parameter}"
        converted[name] = value.float()
    return converted
